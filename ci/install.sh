#!/usr/bin/env bash
# Installs what a backend of the suite needs, and what else is on trial: softmax-ce ci install, by the variables
#   BACKEND (numpy)   REQUIREMENTS  what to install besides, as pip install takes it
set -euo pipefail
suite=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
extra=""
own() { [[ -f $suite/adapters/$1/backend.py || -f $suite/adapters/kernels/$1.py ]]; }
[[ ${BACKEND:-numpy} == numpy ]] || ! own "$BACKEND" || extra="[$BACKEND]"
read -ra requirements <<<"${REQUIREMENTS:-}"
python -m pip install -q "softmax-ce-conformance$extra" "${requirements[@]}"
