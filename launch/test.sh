#!/usr/bin/env bash
# Installs the test extra into .venv and runs the whole suite. Arguments go to pytest.
#
#   bash launch/test.sh [PYTEST ARGUMENTS]
#   EXTRAS=test,parity bash launch/test.sh     also against Hugging Face in PyTorch
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/install.sh
install_package "${EXTRAS:-test}"
python -m pytest "$@"
