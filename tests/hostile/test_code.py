"""No code comes from a file but from an experiment's: nothing here unpickles, evaluates or imports what a file names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "bert_jax"

_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "runpy",
    "imp",
}
_CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
_METHODS = {
    ("torch", "load"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("os", "system"),
    ("pd", "read_pickle"),
}
_EXPERIMENTS = ("config/experiment.py", "runpy")
"""Runs an experiment file, which is code."""


def faults(file: str, source: str) -> Iterator[str]:
    """What in `source` could run code that a file holds."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.partition(".")[0] in _MODULES and (file, name) != _EXPERIMENTS:
                yield f"{file}:{node.lineno}: imports {name}"  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            yield from (f"{file}:{node.lineno}: {found}" for found in _of_call(node))
        if isinstance(node, ast.Attribute) and node.attr in ("exec_module", "load_module"):
            yield f"{file}:{node.lineno}: {node.attr}"


def _of_call(node: ast.Call) -> Iterator[str]:
    if isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        yield f"calls {node.func.id}"
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        called = (node.func.value.id, node.func.attr)
        weights_only = any(keyword.arg == "weights_only" for keyword in node.keywords)
        if called in _METHODS and not (called == ("torch", "load") and weights_only):
            yield f"calls {'.'.join(called)}"
    for keyword in node.keywords:
        is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg in ("allow_pickle", "trust_remote_code", "shell") and not is_false:
            yield f"{keyword.arg} is not False"


FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.glob("**/*.py"))


@pytest.mark.parametrize("file", FILES)
def test_no_file_of_the_package_runs_code_from_a_file(file):
    assert list(faults(file, (PACKAGE / file).read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "eval(text)",
        "exec(compile(text, 'x', 'exec'))",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=allowed)",
        "torch.load(path)",
        "yaml.load(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "subprocess.run(text, shell=True)",
        "spec.loader.exec_module(module)",
    ],
)
def test_what_would_run_code_is_found(source):
    assert list(faults("x.py", source))
