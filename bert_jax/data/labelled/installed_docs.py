"""`installed_docs:package`: which installed package a paragraph of documentation comes from, eight classes.

A labelled set that needs no download. The same installed packages give the same examples.
- Whole modules belong to `train` or to `eval`, by a hash of their name; of one module at most 20 paragraphs are read.
- The packages' names and import aliases, those of other classes too, are written "package", whatever their case.
- A text that occurs twice is read once, and not at all if it occurs in two packages. A training paragraph is left out
  if half of its runs of eight words occur in evaluation paragraphs.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator

from bert_jax.data.labelled.examples import TextExample
from bert_jax.data.sources.installed_modules import Module, Roots, distributions, read_modules
from bert_jax.errors import UserError
from bert_jax.progress import bar

_NAME = "installed_docs:package"

# Class -> its distributions (in lower case with hyphens), and the names and usual aliases of its modules.
# All are required by bert_jax, directly or not; in the order of how many paragraphs of documentation they have.
# Keras has many, but TensorFlow holds a copy of it, so that a text would belong to both.
_PACKAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "tensorflow": (("tensorflow-cpu", "tensorflow"), ("tensorflow", "tf")),
    "scipy": (("scipy",), ("scipy",)),
    "jax": (("jax",), ("jax", "jaxlib", "jnp")),
    "matplotlib": (("matplotlib",), ("matplotlib", "mpl", "pyplot", "plt")),
    "scikit-learn": (("scikit-learn",), ("scikit-learn", "scikit learn", "sklearn")),
    "numpy": (("numpy",), ("numpy", "np")),
    "orbax": (("orbax-checkpoint",), ("orbax", "ocp")),
    "huggingface_hub": (("huggingface-hub",), ("huggingface", "hugging face", "hf")),
    "tensorflow_datasets": (("tensorflow-datasets",), ("tensorflow_datasets", "tensorflow datasets", "tfds")),
    "flax": (("flax",), ("flax",)),
}
_CLASSES, _LEAST_CLASSES = 8, 6
_QUOTAS = {"train": 375, "eval": 75}  # paragraphs of a class
_SPARE = 1.3  # read so many times the quota: some are left out
_EVAL_SHARE = 6  # one module in so many
_FROM_ONE_MODULE = 20
_WORDS = range(8, 81)
_RUN = 8

# Longer names first: "tensorflow_datasets" is one name. An underscore ends a name: "np_array" holds one.
_NAMES = sorted(
    (name for _, names in _PACKAGES.values() for name in names), key=lambda name: (-len(name), name)
)
_MASKED = re.compile(rf"(?<![^\W_])(?:{'|'.join(map(re.escape, _NAMES))})(?![^\W_])", re.IGNORECASE)


def is_entry(entry: str) -> bool:
    return entry == "installed_docs" or entry.startswith("installed_docs:")


def read(entry: str, *, roots: Roots | None = None) -> tuple[list[TextExample], tuple[str, ...]]:
    """(the paragraphs of a split in an order that mixes the classes, the classes).

    Args:
      entry: installed_docs:package:train or installed_docs:package:eval.
      roots: the folders of packages; None: of this Python.

    Raises:
      UserError: another entry, or fewer than six of the packages are installed.
    """
    name, _, split = entry.rpartition(":")
    if name != _NAME or split not in _QUOTAS:
        raise UserError(f"{entry!r} must be {_NAME}:train or {_NAME}:eval")
    classes, kept = _all(roots or Roots.of_this_python())
    chosen: list[TextExample] = []
    for label in classes:
        of_class = [e for e, part in kept if part == split and e.label == label]
        chosen += of_class[: _QUOTAS[split]]
    return sorted(chosen, key=lambda example: _hash(example.text)), classes


@functools.cache
def _all(roots: Roots) -> tuple[tuple[str, ...], list[tuple[TextExample, str]]]:
    """(the classes, each paragraph with its split). Kept: a run reads both splits, which come from one reading."""
    modules = _found_classes(roots)
    labels = bar(modules, description="reading installed documentation", unit=" packages", delay=2.0)
    found = [paragraph for label in labels for paragraph in _paragraphs(label, modules[label])]
    return tuple(modules), _without_leaks(found)


def _found_classes(roots: Roots) -> dict[str, list[Module]]:
    """The modules of each class."""
    wanted = {name for names, _ in _PACKAGES.values() for name in names}
    found = {name: modules for (name, _), modules in distributions(roots.site_packages, names=wanted).items()}
    installed = {
        label: next(found[name] for name in names if name in found)
        for label, (names, _) in _PACKAGES.items()
        if not found.keys().isdisjoint(names)
    }
    if len(installed) < _LEAST_CLASSES:
        raise UserError(
            f"{_NAME}: {len(installed)} of the packages {', '.join(_PACKAGES)} are installed, must be at least"
            f" {_LEAST_CLASSES}; install them, or name another labelled set"
        )
    return dict(list(installed.items())[:_CLASSES])


def _paragraphs(label: str, modules: list[Module]) -> Iterator[tuple[TextExample, str]]:
    """(a paragraph, its split), from modules in the order of their hashes, until both splits have enough."""
    missing = {split: quota * _SPARE for split, quota in _QUOTAS.items()}
    for module in sorted(modules, key=lambda module: _hash(module.name)):
        split = "train" if int(_hash("split " + module.name), 16) % _EVAL_SHARE else "eval"
        if missing[split] <= 0:
            continue
        for name, paragraphs in read_modules([(module.name, module.path)]):
            texts = [_MASKED.sub("package", p) for p in dict.fromkeys(paragraphs) if len(p.split()) in _WORDS]
            for number, text in enumerate(texts[:_FROM_ONE_MODULE]):
                yield TextExample(text, None, label, f"{name}[{number}]"), split
            missing[split] -= len(texts[:_FROM_ONE_MODULE])


def _without_leaks(found: list[tuple[TextExample, str]]) -> list[tuple[TextExample, str]]:
    """Leaves out texts that occur again or in two classes, and training texts that are much like evaluation ones."""
    words = [tuple(re.findall(r"\w+", example.text.lower())) for example, _ in found]
    classes: dict[tuple[str, ...], set[object]] = {}
    for key, (example, _) in zip(words, found, strict=True):
        classes.setdefault(key, set()).add(example.label)
    held_out = {key for key, (_, split) in zip(words, found, strict=True) if split == "eval"}
    held_out_runs = {run for key in held_out for run in _runs(key)}
    kept = []
    seen: set[tuple[str, ...]] = set()
    for key, (example, split) in zip(words, found, strict=True):
        if key in seen or len(classes[key]) > 1 or (split == "train" and key in held_out):
            continue
        seen.add(key)
        runs = _runs(key)
        if split == "eval" or 2 * len(runs & held_out_runs) < len(runs):
            kept.append((example, split))
    return kept


def _runs(words: tuple[str, ...]) -> set[tuple[str, ...]]:
    """All runs of eight words; of fewer words, the only one."""
    return {words[start : start + _RUN] for start in range(max(1, len(words) - _RUN + 1))}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
