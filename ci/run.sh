#!/usr/bin/env bash
# What CI runs on a fresh clone: install by the README's command, lint, types, the tests, then each backend in a process of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 -m venv .venv && .venv/bin/pip install -q -e '.[test,tensorflow,torch]' -c ci/constraints.txt
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
while read -r backend mode; do
    .venv/bin/pytest suites/ --backend="$backend" --mode="$mode" --report="reports/$backend-$mode" -q
done <<'RUNS'
numpy eager
torch eager
torch autocast
torch compiled
tensorflow eager
tensorflow compiled
tensorflow xla
RUNS
.venv/bin/pytest tests/ -q
