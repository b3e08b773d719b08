# shellcheck shell=bash
# Sourced by the other scripts: creates .venv in the project folder, installs the package there with the versions
# pinned in constraints.txt, and activates it.
#
#   install_package            the package
#   install_package test,gpu   and these extras
#
# PYTHON=python3.12 selects the interpreter of a new .venv; VENV=.venv-tpu another folder.

install_package() {
  local extras="${1:+[$1]}" venv="${VENV:-.venv}" stamp
  if [ ! -x "$venv/bin/python" ]; then
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
      echo "bert_jax needs Python 3.11 or newer: set PYTHON to one" >&2
      return 1
    }
    "${PYTHON:-python3}" -m venv "$venv"
  fi
  # shellcheck disable=SC1091 # created above
  . "$venv/bin/activate"
  # Skips pip if these extras are already installed for these versions of the files.
  stamp="$(cat setup.py launch/constraints.txt | cksum | tr -d ' ')$extras"
  if ! grep -qxF "$stamp" "$venv/installed" 2>/dev/null; then
    echo "installing bert_jax$extras into $venv (a few minutes the first time)"
    python -m pip install --quiet --disable-pip-version-check --constraint launch/constraints.txt \
      --editable ".$extras"
    echo "$stamp" >>"$venv/installed"
  fi
}
