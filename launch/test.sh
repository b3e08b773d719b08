#!/usr/bin/env bash
# Installs the test extra into .venv and runs the whole suite in two processes. Arguments go to pytest.
#
#   bash launch/test.sh [PYTEST ARGUMENTS]
#   EXTRAS=test,parity bash launch/test.sh     also against Hugging Face in PyTorch
#   WORKERS=8 bash launch/test.sh              in eight processes, of up to 5 GB each
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/install.sh
install_package "${EXTRAS:-test}"
python -m pytest --numprocesses "${WORKERS:-2}" --dist loadfile "$@"
