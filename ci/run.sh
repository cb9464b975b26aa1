#!/usr/bin/env bash
# What CI runs on a fresh clone: install by the README's command, lint, types, the tests, then each backend in a process of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 -m venv .venv && .venv/bin/pip install -q -e '.[test,jax,tensorflow,torch]' -c ci/constraints.txt
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
command -v gappa >/dev/null && command -v sollya >/dev/null ||
    echo "The proofs of the compiled tier are not checked: gappa or sollya is not installed (apt-get install gappa sollya)."
# What JAX and torch.compile have compiled is kept for this run, as is what the reference expects of problems: both come again in
# other backends and modes, in reproducers and in the tests.
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
export JAX_COMPILATION_CACHE_DIR="$kept/jax" TORCHINDUCTOR_CACHE_DIR="$kept/inductor" SOFTMAX_CE_CACHE="$kept/expected"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
# Each backend and mode in a process of its own, and the tests in two that leave out none, two at a time, the longest first:
# a long one that begins late has the machine to itself at the end. What a run says is shown whole, and how long it took.
# Where shapes or options are compiled or traced, in one format. EFFORT=standard searches as far as the reports that ci/publish.py
# publishes, in all formats.
suites() {
    local backend="$1" mode="$2" narrowed=(--effort="${EFFORT:-quick}")
    [ -n "${EFFORT:-}" ] || [ -z "${3:-}" ] || narrowed+=(--dtype="$3")
    .venv/bin/pytest suites/ --backend="$backend" --mode="$mode" --report="reports/$backend-$mode" -q "${narrowed[@]}" &&
        .venv/bin/python ci/run_reproducers.py "reports/$backend-$mode/reproducers"
}
# A sample of other processors, as far as one machine can pretend to be one: the stored cases, whose deviations are strict.
# torch.compile's cache does not tell ATEN_CPU_CAPABILITY apart: what it compiled for one aborts in another.
# To leave AVX512 out of a processor that lacks it changes nothing.
emulated() {
    if [[ "${1,,}" =~ avx2|x86_v4 ]] && [ -r /proc/cpuinfo ] && ! grep -qw avx512f /proc/cpuinfo; then
        echo "not run: this processor has no AVX512"
        return
    fi
    env "$1" TORCHINDUCTOR_CACHE_DIR="$TORCHINDUCTOR_CACHE_DIR/$1" \
        .venv/bin/pytest suites/test_cases.py suites/test_out_of_range.py --backend="$2" --mode="$3" --operation="$4" -q
}
tests() { .venv/bin/pytest tests/ -q --durations=25 -k "$*"; }
told() {
    local said status=0 TIMEFORMAT="%0R s, %0U s of processor time"
    said=$( { time "$@"; } 2>&1) || status=$?
    printf '%s\n' "== $*" "$said"
    return "$status"
}
export -f suites emulated tests told
xargs -P 2 -L 1 bash -c 'told "$@"' run <<'RUNS'
suites torch compiled float32
tests not planted
suites jax compiled float16
suites jax eager float32
suites numpy eager
suites tensorflow compiled bfloat16
suites tensorflow eager
tests planted
suites tensorflow xla float32
suites torch eager
suites torch autocast
emulated TF_ENABLE_ONEDNN_OPTS=0 tensorflow eager s*
emulated ATEN_CPU_CAPABILITY=avx2 torch eager cross_entropy*
emulated ATEN_CPU_CAPABILITY=default torch eager cross_entropy*
emulated ATEN_CPU_CAPABILITY=default torch compiled log_softmax
emulated XLA_FLAGS=--xla_cpu_max_isa=AVX2 jax eager softmax_cross_entropy*
emulated NPY_DISABLE_CPU_FEATURES=X86_V4 numpy eager *
RUNS
