"""The modules of the standard library and of the installed packages, and the prose of their docstrings.

Sources are parsed with `ast`, never imported or executed. The processes that parse import this module, so it imports
nothing heavy at the top: no numpy, no tensorflow, no jax, nor anything that imports them.
"""

from __future__ import annotations

import ast
import csv
import dataclasses
import gc
import importlib.metadata
import multiprocessing
import os
import re
import signal
import sys
import sysconfig
import warnings
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from bert_jax.data.sources.docstrings import prose
from bert_jax.errors import UserError
from bert_jax.progress import bar


@dataclasses.dataclass(frozen=True)
class Roots:
    """The folders whose documentation is read."""

    stdlib: Path
    site_packages: tuple[Path, ...]

    @classmethod
    def of_this_python(cls) -> Roots:
        names = ("site-packages", "dist-packages")
        folders = [Path(p) for p in dict.fromkeys(sys.path) if os.path.basename(p) in names]
        return cls(Path(sysconfig.get_path("stdlib")), tuple(folders))


@dataclasses.dataclass(frozen=True, order=True)
class Module:
    name: str
    path: str
    size: int


_SKIPPED_FOLDERS = frozenset(
    [
        "_api",
        "_tf_keras",
        "_vendor",
        "_vendored",
        "extern",
        "externals",
        "idle_test",
        "test",
        "tests",
        "third_party",
        "thirdparty",
        "vendor",
        "vendored",
    ]
)
_SKIPPED_MODULES = re.compile(r"test_.*|.*_tests?|conftest|.*_pb2(_grpc)?|__editable__.*|__main__")


def _module(root: Path, relative: str) -> Module | None:
    """The module of a file below a root; None if it is none, or a test, a vendored copy or generated."""
    parts = relative.removesuffix(".py").split("/")
    if not all(part.isidentifier() for part in parts) or not _SKIPPED_FOLDERS.isdisjoint(parts[:-1]):
        return None
    if _SKIPPED_MODULES.fullmatch(parts[-1]) or parts[:2] == ["keras", "api"]:
        return None
    path = root / relative
    try:
        size = path.stat().st_size
    except OSError:  # listed, but removed since
        return None
    return Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), str(path), size)


def standard_library(root: Path) -> list[Module]:
    modules = []
    for folder, folders, files in os.walk(root):
        folders[:] = [
            f for f in folders if f.isidentifier()
        ]  # not site-packages, which is read by distribution
        inside = Path(folder).relative_to(root)
        for file in files:
            if file.endswith(".py") and (module := _module(root, (inside / file).as_posix())):
                modules.append(module)
    return sorted(modules)


def distributions(
    folders: Iterable[Path], *, names: Collection[str] | None = None
) -> dict[tuple[str, str], list[Module]]:
    """(name, version) -> modules, sorted by name; the first folder that has a distribution wins, as on import.

    `names` are those to find, in lower case with hyphens; None: all.

    Only what an installer recorded: without a RECORD (some system packages) the files of a distribution are unknown.
    """
    found: dict[str, tuple[str, list[Module]]] = {}
    for folder in folders:
        recorded = [
            (name, distribution.version or "", record)
            for distribution in importlib.metadata.distributions(path=[str(folder)])
            if (name := _normal_name(distribution)) and (names is None or name in names)
            if (record := distribution.read_text("RECORD")) and distribution.read_text("METADATA")
        ]
        for name, version, record in sorted(recorded):
            if name in found or name == "bert-jax":
                continue
            paths = (row[0] for row in csv.reader(record.splitlines()) if row and row[0].endswith(".py"))
            modules = [module for path in paths if (module := _module(folder, path))]
            if modules:
                found[name] = version, sorted(modules)
    return {(name, version): modules for name, (version, modules) in sorted(found.items())}


def _normal_name(distribution: importlib.metadata.Distribution) -> str:
    return re.sub(r"[-_.]+", "-", distribution.name or "").lower()


# ---------------------------------------------------------------------------------------------
# Reading modules, in other processes
# ---------------------------------------------------------------------------------------------

_TOPICS = "pydoc_data.topics"
Texts = list[tuple[str, list[str]]]  # (document name, its paragraphs)


def read_modules(modules: list[tuple[str, str]]) -> Texts:
    """The prose of each (name, path). Runs in a process of its own where there are several."""
    texts = []
    was_enabled = gc.isenabled()
    gc.disable()  # syntax trees have no cycles, and searching for them takes a third of the time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in the packages' strings
            for name, path in modules:
                texts += _read_module(name, path)
    finally:
        if was_enabled:
            gc.enable()
    return texts


def _read_module(name: str, path: str) -> Texts:
    try:
        source = Path(path).read_bytes()
        if b'"""' not in source and b"'''" not in source and name != _TOPICS:
            return []
        tree = ast.parse(source)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # a template, code for another Python, or nested too deep
    if name == _TOPICS:
        return [(f"{name}:{topic}", prose(text)) for topic, text in _topics(tree)]
    return [(name, [paragraph for docstring in _docstrings(tree) for paragraph in prose(docstring)])]


def _docstrings(node: ast.AST) -> Iterator[str]:
    """The docstring of a module or class, then those of what it defines, in the order of the source."""
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        if docstring := ast.get_docstring(node, clean=False):
            yield docstring
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return
    for block in ("body", "handlers", "orelse", "finalbody"):
        for child in getattr(node, block, ()):
            if isinstance(child, _BLOCKS):
                yield from _docstrings(child)


_BLOCKS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.If, ast.Try, ast.ExceptHandler, ast.With)


def _topics(tree: ast.Module) -> list[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return sorted(ast.literal_eval(node.value).items())
    return []


def _ignore_interrupt() -> None:
    """Ctrl-C reaches the whole process group; the parent ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _chunks(modules: Iterable[Module], *, size: int) -> Iterator[list[Module]]:
    """Consecutive modules, with about `size` bytes of source together."""
    chunk: list[Module] = []
    for module in modules:
        chunk.append(module)
        if sum(m.size for m in chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def read_all(modules: list[Module], *, processes: int) -> Iterator[tuple[str, list[str]]]:
    """What `read_modules` gives for all of them, in their order, whatever the number of processes."""
    chunks = list(_chunks(modules, size=1 << 19))
    work = [[(module.name, module.path) for module in chunk] for chunk in chunks]
    sizes = [sum(module.size for module in chunk) for chunk in chunks]
    with bar(description="reading installed documentation", total=sum(sizes), unit="B") as progress:
        if processes == 1:
            for size, part in zip(sizes, work, strict=True):
                yield from read_modules(part)
                progress.update(size)
            return
        # spawn, not fork: threads of TensorFlow or JAX do not survive a fork
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_ignore_interrupt) as pool:
            try:
                for size, texts in zip(sizes, pool.map(read_modules, work), strict=True):
                    yield from texts
                    progress.update(size)
            except BrokenProcessPool as error:
                raise UserError(
                    "reading the installed documentation: a worker process was killed, most often for lack of"
                    " memory; free some, or name text files in config.data.path"
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)
