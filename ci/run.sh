#!/usr/bin/env bash
# What CI runs on a fresh clone: install by the README's command, lint, types, the tests, then each backend in a process of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 -m venv .venv && .venv/bin/pip install -q -e '.[test,torch]' -c ci/constraints.txt
.venv/bin/ruff format --check .
.venv/bin/ruff check .
.venv/bin/mypy
for backend in numpy torch; do
    .venv/bin/pytest suites/ --backend="$backend" --report="reports/$backend" -q
done
.venv/bin/pytest tests/ -q
