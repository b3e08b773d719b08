#!/usr/bin/env bash
# Installs the test extra into .venv and runs the test suite in two processes. Arguments are passed to pytest.
#
#   bash launch/test.sh [PYTEST ARGUMENTS]
#   EXTRAS=test,parity bash launch/test.sh     compares with Hugging Face in PyTorch, too
#   WORKERS=8 bash launch/test.sh              eight processes, of up to 5 GB each
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/install.sh
install_package "${EXTRAS:-test}"
python -m pytest --numprocesses "${WORKERS:-2}" --dist loadfile "$@"
