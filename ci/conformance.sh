#!/usr/bin/env bash
# One conformance run in the CI of a framework or kernel, from its checkout: softmax-ce ci conformance, by these variables.
#   BACKEND         as --backend takes it (numpy)         IMPLEMENTATION  as --implementation does
#   DTYPES          as --dtype does, or all (all)         DEVICE, MODE, EFFORT, CLAIM, CLAIMS  as the options do
#   BASELINES       a folder of stored reports, NAME.json for each run; NAME is BACKEND-DTYPES, KERNEL-DTYPES, or the one given: a file name
#   REPORTS         where to write NAME/report.json (of a kernel: report-KERNEL.json), .md, .html, junit.xml and reproducers/
# Without BASELINES it fails if a test does. With them it fails if the report is worse than the stored one, or there is none.
# Its first line says which variables it was given. Its exit statuses are in ci/README.md.
set -euo pipefail
backend=${BACKEND:-numpy} dtypes=${DTYPES:-all}
tried=${IMPLEMENTATION:-} tried=${tried##*:} # the kernel's own name, or the backend's
name=${NAME:-${tried:-$(basename -- "${backend%%:*}" .py)}-$dtypes}
if [[ ! $name =~ ^[A-Za-z0-9_,][A-Za-z0-9_.,+-]*$ || ${#name} -gt 100 ]]; then
    echo "NAME, or what it is made of by default (IMPLEMENTATION or BACKEND, with DTYPES), is ${name@Q}; allowed: a file name" \
        "of at most 100 letters, digits and _ . , + -, which begins with none of . + -; give another NAME" >&2
    exit 4
fi
given=()
for variable in BACKEND IMPLEMENTATION DTYPES DEVICE MODE EFFORT CLAIM CLAIMS BASELINES REPORTS NAME; do
    value=${!variable:-}
    [[ -z $value ]] || given+=("$variable=${value@Q}")
done
echo "conformance.sh: given: ${given[*]:-nothing}; every other variable has its default"

report=${REPORTS:-reports}/$name
summary=${GITHUB_STEP_SUMMARY:-$report/summary.md}

options=(--backend="$backend" --isolate --report="$report" --junit-xml="$report/junit.xml")
[[ $dtypes == all ]] || options+=(--dtype="$dtypes")
[[ -z ${IMPLEMENTATION:-} ]] || options+=(--implementation="$IMPLEMENTATION")
[[ -z ${DEVICE:-} ]] || options+=(--device="$DEVICE")
[[ -z ${MODE:-} ]] || options+=(--mode="$MODE")
[[ -z ${EFFORT:-} ]] || options+=(--effort="$EFFORT")
[[ -z ${CLAIM:-} ]] || options+=(--claim="$CLAIM")
[[ -z ${CLAIMS:-} ]] || options+=(--claims="$CLAIMS")

# Nothing of another run is judged or told, and no link in its place is written through.
rm -f "$report"/report*.json "$report"/{report*,summary}.md "$report"/report*.html "$report"/junit.xml
status=0
python -m softmax_ce_conformance suite "${options[@]}" || status=$?
((status <= 1)) || exit "$status" # not a verdict: a mistake in the options, or nothing was run

reports() { python -m softmax_ce_conformance report "$@"; }
reports show --markdown "$report" >>"$summary"
[[ -n ${BASELINES:-} ]] || exit "$status"
stored=$BASELINES/$name.json
written=("$report"/report*.json)
accept="cp ${written[0]@Q} ${stored@Q}"
[[ -d $BASELINES ]] || accept="mkdir -p ${BASELINES@Q} && $accept"
if [[ ! -f $stored ]]; then
    echo "There is no $stored to compare with. If you accept this run, store its report there: $accept" | tee -a "$summary"
    exit 1
fi
echo >>"$summary"
compared=0
reports compare --markdown --fail-on-regression "$stored" "$report" 2>&1 | tee -a "$summary" || compared=$?
case $compared in
0) said="The gate passes: nothing is worse than in $stored." ;;
1) said="The gate fails: what is worse than in $stored is listed above. If you accept that, store this report: $accept" ;;
*) said="The gate fails: there is nothing to compare with in $stored. The line above says why. If you accept this run: $accept" ;;
esac
printf '\n%s\n' "$said" | tee -a "$summary"
exit "$compared"
