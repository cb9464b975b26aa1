#!/usr/bin/env bash
# What CI runs on a fresh clone: install by the README's command, lint, types, the tests, then each backend in a process of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 -m venv .venv && .venv/bin/pip install -q -e '.[test,jax,tensorflow,torch]' -c ci/constraints.txt
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
# Each backend and mode in a process of its own, two at a time; what a run says is shown whole, when it ends.
run_suites() {
    local backend="$1" mode="$2" said status=0
    said=$(.venv/bin/pytest suites/ --backend="$backend" --mode="$mode" --report="reports/$backend-$mode" -q 2>&1) || status=$?
    printf '%s\n' "== $backend $mode" "$said"
    return "$status"
}
export -f run_suites
xargs -P 2 -L 1 bash -c 'run_suites "$@"' run <<'RUNS'
jax eager
jax compiled
tensorflow xla
torch eager
numpy eager
torch autocast
torch compiled
tensorflow eager
tensorflow compiled
RUNS
.venv/bin/pytest tests/ -q
