# shellcheck shell=bash
# Sourced by the other scripts: creates .venv in the project folder, installs the package there with the versions
# pinned in constraints.txt, and activates it.
#
#   install_package            the package
#   install_package test,gpu   and these extras
#
# PYTHON=python3.12 selects the interpreter of a new .venv; VENV=.venv-tpu another folder. LOCKED=1 installs the package
# and the test extra from the files whose hashes requirements.lock has, and from no others.

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
  stamp="$(cat setup.py launch/constraints.txt launch/requirements.lock | cksum | tr -d ' ')$extras${LOCKED:+-locked}"
  if ! grep -qxF "$stamp" "$venv/installed" 2>/dev/null; then
    echo "installing bert_jax$extras into $venv (a few minutes the first time)"
    if [ -n "${LOCKED:-}" ]; then
      install_locked "${1:-}"
    else
      python -m pip install --quiet --disable-pip-version-check --constraint launch/constraints.txt \
        --editable ".$extras"
    fi
    echo "$stamp" >>"$venv/installed"
  fi
}

# The lock has all packages, so pip looks for no others. Those without wheels are built by the setuptools of the lock,
# which is therefore installed first.
install_locked() {
  local lock=launch/requirements.lock
  local pip=(python -m pip install --quiet --disable-pip-version-check --no-build-isolation)
  if [ -n "$1" ] && [ "$1" != test ]; then
    echo "LOCKED=1 must go with the test extra or none, not with '$1': $lock has no other's packages" >&2
    return 1
  fi
  "${pip[@]}" --require-hashes --requirement <(sed -n '/^setuptools==/,/[^\\]$/p' "$lock")
  "${pip[@]}" --require-hashes --no-deps --requirement "$lock"
  "${pip[@]}" --no-deps --editable .
}
