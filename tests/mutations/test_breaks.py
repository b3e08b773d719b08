"""Lines of the package that are broken one at a time, each of which some test must notice.

BERT_JAX_BREAKS=1 breaks them: half a minute each. Without it the list alone is checked against package and tests.
"""

import ast
import collections
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations.breaks import BREAKS

ROOT = Path(__file__).parents[2]
_NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "runs")
_SOME_FAILED = pytest.ExitCode.TESTS_FAILED

BROKEN = pytest.mark.skipif(
    "BERT_JAX_BREAKS" not in os.environ, reason="half a minute a break: BERT_JAX_BREAKS=1 asks for it"
)


def test_the_list_is_of_lines_that_are_there_and_tests_that_are_there():
    assert len(BREAKS) >= 40
    assert [name for name, count in collections.Counter(b.name for b in BREAKS).items() if count > 1] == []
    for broken in BREAKS:
        content = (ROOT / "bert_jax" / broken.file).read_text(encoding="utf-8")
        assert "\n" not in broken.old and content.count(broken.old) == 1, broken.name
        assert broken.new != broken.old, broken.name
        compile(content.replace(broken.old, broken.new), broken.file, "exec")
        file, function = broken.test.split("::")
        assert function in functions_of(file), broken.name


@functools.cache
def functions_of(file):
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Package, tests and what else they read, to be broken."""
    folder = tmp_path_factory.mktemp("broken") / "bert_jax"
    shutil.copytree(ROOT, folder, ignore=_NOT_COPIED)
    shutil.copy(ROOT / ".pytest.ini", folder)
    return folder


def run_tests(folder, tests, *, limit):
    """(pytest's exit status, what it said) of the tests of the package in `folder`, within `limit` seconds."""
    command = [sys.executable, "-m", "pytest", "-x", "-m", "", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [*command, *(f"tests/{test}" for test in tests)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=limit,
    )
    return done.returncode, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.slow
@BROKEN
@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.name)
def test_a_break_is_noticed(broken, copy):
    file = copy / "bert_jax" / broken.file
    content = file.read_text(encoding="utf-8")
    file.write_text(content.replace(broken.old, broken.new), encoding="utf-8")
    try:
        status, said = run_tests(copy, [broken.test], limit=600)
    finally:
        file.write_text(content, encoding="utf-8")
    assert status == _SOME_FAILED, said


@pytest.mark.slow
@BROKEN
def test_unbroken_the_copy_passes(copy):
    """So what fails above fails for its break."""
    status, said = run_tests(copy, sorted({broken.test for broken in BREAKS}), limit=3600)
    assert status == 0, said
