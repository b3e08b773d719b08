"""Which part of bert_jax may import which: the arrows of the design, one line a folder.

A new folder or file gets a line in `ALLOWED`; what an optional feature needs goes to `INSIDE_FUNCTIONS`,
where an import costs nothing until the function runs. The standard library is free, and so is a file's own
folder. The longest matching place decides, so "config/presets.py" is stricter than "models".
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

_ANYTHING = {"*"}
_BASE = {
    "bert_jax._version",
    "bert_jax.errors",
    "bert_jax.json_file",
    "bert_jax.progress",
    "bert_jax.hub",
    "bert_jax.locks",
    "bert_jax.atomic",
    "bert_jax.checksums",
    "bert_jax.signals",
}
_COMMON = {*_BASE, "bert_jax.config"}

ALLOWED: dict[str, set[str]] = {
    "__init__.py": {"bert_jax._version"},
    "__main__.py": _ANYTHING,
    "_version.py": set(),
    "chips.py": set(),
    "api.py": _ANYTHING,
    "commands": _ANYTHING,
    "errors.py": set(),
    "json_file.py": {"bert_jax.errors"},
    "array_file.py": {"numpy"},
    "logs.py": {"tqdm"},
    "progress.py": {"tqdm"},
    "hub.py": {"bert_jax.errors", "bert_jax.progress", "tqdm"},
    "locks.py": {"bert_jax.atomic", "bert_jax.errors", "bert_jax.json_file"},
    "atomic.py": {"bert_jax.errors"},
    "checksums.py": {"bert_jax.atomic"},
    "signals.py": set(),
    "console.py": {"rich"},
    "html.py": set(),
    "plotting.py": {"matplotlib"},
    "compilers": {"bert_jax.chips", "bert_jax.errors", "bert_jax.html", "jax", "rich"},
    "config": {"bert_jax.errors"},
    "batch.py": {"bert_jax.config", "numpy"},
    "text": {*_COMMON, "numpy", "tokenizers"},
    "data": {
        *_COMMON,
        "bert_jax.__version__",
        "bert_jax.array_file",
        "bert_jax.text",
        "bert_jax.batch",
        "numpy",
    },
    "models": {*_COMMON, "bert_jax.batch", "jax", "numpy", "flax.linen", "flax.struct", "flax.traverse_util"},
    "scoring": {"bert_jax.atomic", "bert_jax.errors", "numpy"},
    "objectives": {"bert_jax.batch", "jax"},
    "interop": {
        *_COMMON,
        "bert_jax.array_file",
        "bert_jax.models",
        "bert_jax.text",
        "jax",
        "numpy",
        "safetensors",
        "tokenizers",
    },
    "training": {
        *_COMMON,
        "bert_jax.chips",
        "bert_jax.batch",
        "bert_jax.objectives.sums",
        "bert_jax.models.parameters",
        "flax.struct",
        "jax",
        "numpy",
        "optax",
        "orbax",
        "etils.epath",
    },
    "tasks": {
        *_COMMON,
        "bert_jax.batch",
        "bert_jax.text",
        "bert_jax.models",
        "bert_jax.objectives",
        "bert_jax.scoring",
        "bert_jax.interop",
        "bert_jax.training",
        "jax",
        "numpy",
    },
    "prediction": {
        *_COMMON,
        "bert_jax.models",
        "bert_jax.scoring.entities",
        "bert_jax.text",
        "jax",
        "numpy",
    },
    "probes": {
        *_COMMON,
        "bert_jax.batch",
        "bert_jax.console",
        "bert_jax.data",
        "bert_jax.models",
        "bert_jax.objectives.sums",
        "bert_jax.tasks",
        "jax",
        "numpy",
        "sklearn",
    },
    "probes/scores.py": {
        "bert_jax.array_file",
        "bert_jax.atomic",
        "bert_jax.errors",
        "bert_jax.json_file",
        "numpy",
    },
    "inspection": {
        "bert_jax.batch",
        *_COMMON,
        "bert_jax.console",
        "bert_jax.data",
        "bert_jax.html",
        "bert_jax.plotting",
        "bert_jax.text",
        "bert_jax.training.metrics",
        "matplotlib",
        "numpy",
        "rich",
        "tokenizers",
    },
    "benchmarks": {
        *_COMMON,
        "bert_jax.batch",
        "bert_jax.compilers",
        "bert_jax.console",
        "bert_jax.data",
        "bert_jax.interop",
        "bert_jax.models",
        "bert_jax.prediction",
        "bert_jax.tasks",
        "bert_jax.text",
        "bert_jax.training",
        "jax",
        "numpy",
    },
    "sweeps": {
        *_COMMON,
        "bert_jax.console",
        "bert_jax.html",
        "bert_jax.plotting",
        "bert_jax.probes.scores",
        "bert_jax.training.processes",
        "bert_jax.training.workdir",
        "matplotlib",
        "numpy",
        "rich",
    },
    "sweeps/reporting/statistics.py": {"numpy"},
    "suites": {*_COMMON, "bert_jax.scoring", "bert_jax.tasks", "bert_jax.training.workdir", "numpy", "rich"},
}

INSIDE_FUNCTIONS: dict[str, set[str]] = {
    "__init__.py": {"bert_jax.api", "bert_jax.config"},
    "benchmarks": {"torch", "transformers"},
    "benchmarks/huggingface_flax.py": {"optax", "transformers"},
    "config": {"ml_collections"},
    "hub.py": {"huggingface_hub"},
    "data": {"apache_beam", "etils", "pyarrow", "tensorflow", "tensorflow_datasets"},
    "interop": {"torch", "transformers"},
    "interop/savedmodel.py": {"tensorflow"},
    "interop/tf1.py": {"tensorflow"},
    "prediction": {"bert_jax.data.labelled", "bert_jax.data.random"},
    "scoring": {"scipy"},
    "suites": {"bert_jax.data.labelled"},
    "sweeps": {"bert_jax.data.corpus", "bert_jax.tasks", "bert_jax.training.metrics"},
    "tasks": {"bert_jax.data", "scipy"},
    "text": {"sentencepiece", "sentencex"},
    "training/sinks.py": {"tensorboardX", "wandb"},
    "training/processes/discovery.py": {"kubernetes"},
}

# What only a type checker sees.
TYPE_CHECKING: dict[str, set[str]] = {
    "__init__.py": {"bert_jax.api", "bert_jax.config"},
    "config": {"ml_collections"},
    "data": {"tensorflow"},
    "prediction": {"bert_jax.data.labelled"},
    "tasks": {"bert_jax.data"},
}

# Nothing but these may import what ties everything together.
_ROOF = {"bert_jax.commands", "bert_jax.api"}

_EXPERIMENTS = {"bert_jax.config", "ml_collections"}
_OWN = {"experiments/sweeps/": {"bert_jax.sweeps"}, "experiments/suites/": {"bert_jax.suites"}}


def place_of(file: str, table: dict[str, set[str]]) -> str | None:
    """The longest key of `table` that is `file` or a folder above it."""
    places = [place for place in table if file == place or file.startswith(place + "/")]
    return max(places, key=len, default=None)


def imports(source: str, types_only: set[int] | None = None) -> Iterator[tuple[int, str, bool]]:
    """(line, dotted name, whether inside a function) of every import; `from a import b` is a.b.

    types_only: filled with the lines that only a type checker sees.
    """
    types_only = set() if types_only is None else types_only

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[int, str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((child.lineno, alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                start = "." * child.level + (child.module or "")
                yield from ((child.lineno, f"{start}.{alias.name}", inside) for alias in child.names)
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                types_only.update(range(child.lineno, (child.end_lineno or child.lineno) + 1))
                yield from walk(child, inside)
            else:
                is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, inside or is_function)

    yield from walk(ast.parse(source), False)


def under(name: str, allowed: set[str]) -> bool:
    return "*" in allowed or any(name == entry or name.startswith(entry + ".") for entry in allowed)


def faults(file: str, source: str) -> list[str]:
    """Every import of `file` (its path inside bert_jax) that breaks an arrow."""
    place = place_of(file, ALLOWED)
    if place is None:
        return [f"bert_jax/{file}: no line in ALLOWED says what it may import"]
    lazy_place = place_of(file, INSIDE_FUNCTIONS)
    own = {"bert_jax." + file.partition("/")[0]} if "/" in file and place != file else set()
    found, types_only = [], set[int]()
    types_place = place_of(file, TYPE_CHECKING)
    for line, name, inside in imports(source, types_only):
        allowed = ALLOWED[place] | own
        if types_place and line in types_only:
            allowed = allowed | TYPE_CHECKING[types_place]
        if inside and lazy_place:
            allowed = allowed | INSIDE_FUNCTIONS[lazy_place]
        standard = name.partition(".")[0] in sys.stdlib_module_names
        if not (standard or under(name, allowed)):
            found.append(f"bert_jax/{file}:{line}: {name} is not in {sorted(allowed)}")
    return found


FILES = sorted(str(path.relative_to(ROOT / "bert_jax")) for path in ROOT.glob("bert_jax/**/*.py"))


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_what_its_place_allows(file):
    assert faults(file, (ROOT / "bert_jax" / file).read_text()) == []


@pytest.mark.parametrize(
    "file", [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("experiments/**/*.py"))]
)
def test_an_experiment_imports_the_configuration_alone(file):
    names = [name for _, name, _ in imports((ROOT / file).read_text())]
    foreign = [n for n in names if n.partition(".")[0] not in sys.stdlib_module_names]
    allowed = next((own for folder, own in _OWN.items() if file.startswith(folder)), _EXPERIMENTS)
    assert [name for name in foreign if not under(name, allowed)] == []


def test_only_the_commands_and_the_api_stand_on_everything():
    wide = [place for place, allowed in ALLOWED.items() if allowed & (_ROOF | _ANYTHING)]
    assert wide == ["__main__.py", "api.py", "commands"]


def test_every_folder_of_the_table_exists():
    folders = {place for place in ALLOWED if not place.endswith(".py")}
    assert {folder for folder in folders if not (ROOT / "bert_jax" / folder).is_dir()} == set()


@pytest.mark.parametrize(
    ("file", "source", "name"),
    [
        ("training/x.py", "import tensorflow as tf", "tensorflow"),
        (
            "training/x.py",
            "from bert_jax.data.corpus.shards import TokenShards",
            "bert_jax.data.corpus.shards.TokenShards",
        ),
        ("training/x.py", "from bert_jax.models import bert", "bert_jax.models.bert"),
        (
            "training/x.py",
            "from bert_jax.objectives.pretraining import f",
            "bert_jax.objectives.pretraining.f",
        ),
        ("training/x.py", "from flax import linen", "flax.linen"),
        ("training/x.py", "import flax", "flax"),
        ("objectives/x.py", "def f():\n    import flax.linen as nn", "flax.linen"),
        ("data/x.py", "class A:\n    def f(self):\n        from jax import numpy", "jax.numpy"),
        ("data/x.py", "import tensorflow_datasets", "tensorflow_datasets"),
        ("data/x.py", "import optax", "optax"),
        ("text/x.py", "import sentencepiece", "sentencepiece"),
        ("scoring/x.py", "from bert_jax.data import random", "bert_jax.data.random"),
        ("interop/x.py", "import torch", "torch"),
        ("interop/x.py", "if True:\n    import tensorflow", "tensorflow"),
        ("config/presets.py", "from bert_jax.models import bert", "bert_jax.models.bert"),
        ("training/x.py", "def f():\n    from bert_jax.tasks import choose", "bert_jax.tasks.choose"),
        ("models/x.py", "from bert_jax import api", "bert_jax.api"),
        ("config/x.py", "import ml_collections", "ml_collections"),
        ("batch.py", "from .config import PretrainConfig", ".config.PretrainConfig"),
        ("progress.py", "from bert_jax.commands import pretrain", "bert_jax.commands.pretrain"),
    ],
)
def test_a_wrong_import_is_found(file, source, name):
    assert [fault.split(" ")[1] for fault in faults(file, source)] == [name]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "training/x.py",
            "import bert_jax.models.parameters\nfrom flax import struct\nimport jax.numpy as jnp",
        ),
        ("data/x.py", "def f():\n    import tensorflow_datasets as tfds"),
        ("interop/x.py", "def f():\n    import torch"),
        ("commands/x.py", "import jax, tensorflow\nfrom bert_jax import api"),
    ],
)
def test_a_right_import_passes(file, source):
    assert faults(file, source) == []


def test_a_folder_without_a_line_is_reported():
    assert faults("other/x.py", "") == ["bert_jax/other/x.py: no line in ALLOWED says what it may import"]


def _modules(*folders: str) -> list[str]:
    files = [file for file in FILES if file.startswith(folders) and not file.endswith("__init__.py")]
    return ["bert_jax." + file.removesuffix(".py").replace("/", ".") for file in files]


def _run(program: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)


def test_models_objectives_training_and_interop_import_without_tensorflow():
    modules = _modules("models/", "objectives/", "training/", "interop/", "tasks/")
    assert {"bert_jax.models.bert", "bert_jax.objectives.pretraining", "bert_jax.training.step"} <= set(
        modules
    )
    hide = "import sys; sys.modules['tensorflow'] = sys.modules['torch'] = None\n"
    answer = _run(hide + "".join(f"import {module}\n" for module in modules))
    assert answer.returncode == 0, answer.stderr
    data = _run(hide + "import bert_jax.data.tensorflow as t; t.tensorflow()")  # the same program can fail
    assert "ModuleNotFoundError: import of tensorflow halted" in data.stderr


def test_the_data_floor_imports_without_jax():
    answer = _run(
        "import sys; sys.modules['jax'] = sys.modules['flax'] = sys.modules['optax'] = None\n"
        + "".join(f"import {module}\n" for module in _modules("text/", "data/"))
    )
    assert answer.returncode == 0, answer.stderr
