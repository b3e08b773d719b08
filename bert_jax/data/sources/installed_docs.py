"""English prose from the documentation that every machine has: docstrings of the standard library and of the
installed packages, and Python's own help topics.

Sources are parsed with `ast`, never imported or executed. The processes that parse import this module, so it imports
nothing heavy at the top: no numpy, no tensorflow, no jax, nor anything that imports them.
"""

from __future__ import annotations

import ast
import csv
import dataclasses
import functools
import gc
import gzip
import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import platform
import re
import signal
import sys
import sysconfig
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from bert_jax import atomic
from bert_jax.data.cores import usable_cores
from bert_jax.data.sources.blocks import BLOCK_BYTES, DOCUMENT_BYTES, Document, RawBlock
from bert_jax.data.sources.cutting import Cutter, after_last_line
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
class _Module:
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


def _module(root: Path, relative: str) -> _Module | None:
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
    return _Module(".".join(parts[:-1] if parts[-1] == "__init__" else parts), str(path), size)


def _standard_library(root: Path) -> list[_Module]:
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


def _distributions(folders: Iterable[Path]) -> dict[tuple[str, str], list[_Module]]:
    """(name, version) -> modules, sorted by name; the first folder that has a distribution wins, as on import.

    Only what an installer recorded: without a RECORD (some system packages) the files of a distribution are unknown.
    """
    found: dict[str, tuple[str, list[_Module]]] = {}
    for folder in folders:
        recorded = [
            (re.sub(r"[-_.]+", "-", distribution.name or "").lower(), distribution.version or "", record)
            for distribution in importlib.metadata.distributions(path=[str(folder)])
            if (record := distribution.read_text("RECORD")) and distribution.read_text("METADATA")
        ]
        for name, version, record in sorted(recorded):
            if name in found or name in ("", "bert-jax"):
                continue
            paths = (row[0] for row in csv.reader(record.splitlines()) if row and row[0].endswith(".py"))
            modules = [module for path in paths if (module := _module(folder, path))]
            if modules:
                found[name] = version, sorted(modules)
    return {(name, version): modules for name, (version, modules) in sorted(found.items())}


# ---------------------------------------------------------------------------------------------
# Reading modules, in other processes
# ---------------------------------------------------------------------------------------------

_TOPICS = "pydoc_data.topics"
_Texts = list[tuple[str, list[str]]]  # (document name, its paragraphs)


def _read_modules(modules: list[tuple[str, str]]) -> _Texts:
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


def _read_module(name: str, path: str) -> _Texts:
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


def _chunks(modules: Iterable[_Module], *, size: int) -> Iterator[list[_Module]]:
    """Consecutive modules, with about `size` bytes of source together."""
    chunk: list[_Module] = []
    for module in modules:
        chunk.append(module)
        if sum(m.size for m in chunk) >= size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _read_all(modules: list[_Module], *, processes: int) -> Iterator[tuple[str, list[str]]]:
    """What `_read_modules` gives for all of them, in their order, whatever the number of processes."""
    chunks = list(_chunks(modules, size=1 << 19))
    work = [[(module.name, module.path) for module in chunk] for chunk in chunks]
    sizes = [sum(module.size for module in chunk) for chunk in chunks]
    with bar(description="reading installed documentation", total=sum(sizes), unit="B") as progress:
        if processes == 1:
            for size, part in zip(sizes, work, strict=True):
                yield from _read_modules(part)
                progress.update(size)
            return
        # spawn, not fork: threads of TensorFlow or JAX do not survive a fork
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context, initializer=_ignore_interrupt) as pool:
            try:
                for size, texts in zip(sizes, pool.map(_read_modules, work), strict=True):
                    yield from texts
                    progress.update(size)
            except BrokenProcessPool as error:
                raise UserError(
                    "reading the installed documentation: a worker process was killed, most often for lack of"
                    " memory; free some, or name text files in config.data.path"
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)


# ---------------------------------------------------------------------------------------------
# The corpus
# ---------------------------------------------------------------------------------------------

# Part of the identity: increment it with every change that changes the text.
FORMAT = 1


class InstalledDocs:
    """One document per module and help topic; each paragraph once in the whole corpus.

    Extracted on the first reading, then read from a file in `cache_dir` that is named by the identity.
    """

    name = "installed_docs"

    def __init__(
        self,
        cache_dir: Path,
        *,
        source: int = 0,
        first: int = 0,
        roots: Roots | None = None,
        processes: int | None = None,
    ):
        """`source` is the number of the entry of `data.path`, `first` that of the input among all inputs."""
        self.source, self.number = source, first
        self._cache_dir = Path(cache_dir)
        self._roots = roots or Roots.of_this_python()
        self._processes = processes or usable_cores()

    @functools.cached_property
    def _installed(self) -> dict[tuple[str, str], list[_Module]]:
        return _distributions(self._roots.site_packages)

    def identity(self) -> dict[str, Any]:
        return {
            "source": "installed_docs",
            "format": FORMAT,
            "python": platform.python_version(),
            "distributions": [list(key) for key in self._installed],
        }

    @functools.cached_property
    def _file(self) -> Path:
        key = hashlib.sha256(json.dumps(self.identity()).encode()).hexdigest()[:16]
        return self._cache_dir / f"installed_docs-{key}.jsonl.gz"

    def inputs(self) -> list[InstalledDocs]:
        """Everything is one input."""
        return [self]

    @property
    def size(self) -> int:
        """Bytes of the file; 0 before the first reading."""
        return self._file.stat().st_size if self._file.is_file() else 0

    def blocks(self, *, block_bytes: int = BLOCK_BYTES, limit: int = DOCUMENT_BYTES) -> Iterator[RawBlock]:
        """Reads everything once; extracts it first if necessary.

        Raises:
          UserError: there is no documentation, or the file cannot be written.
        """
        if not _is_whole(self._file):
            texts = self._make()
            if not texts:
                raise UserError(
                    f"no documentation found in {self._roots.stdlib} and the packages of"
                    f" {', '.join(map(str, self._roots.site_packages)) or 'no folder'}; name text files in"
                    " config.data.path"
                )
            _save(self._file, texts)
        with open(self._file, "rb") as raw, gzip.GzipFile(fileobj=raw) as lines:
            lines.readline()  # how many follow
            pieces = Cutter(lines, after_last_line, block_bytes=block_bytes, limit=limit)
            for number, piece in enumerate(pieces):
                yield _DocsBlock(
                    source=self.source,
                    input=self.number,
                    number=number,
                    skipped=piece.skipped,
                    position=raw.tell(),
                    data=piece.data,
                )

    def _make(self) -> _Texts:
        modules = _standard_library(self._roots.stdlib)
        for installed in self._installed.values():
            modules += installed
        seen: set[str] = set()
        texts = []
        for name, paragraphs in _read_all(modules, processes=self._processes):
            new = [paragraph for paragraph in dict.fromkeys(paragraphs) if paragraph not in seen]
            if len(new) >= 2:
                seen.update(new)
                texts.append((name, new))
        return texts


@dataclasses.dataclass(frozen=True, kw_only=True)
class _DocsBlock(RawBlock):
    """Lines of the file: JSON, [name, paragraphs]."""

    data: bytes

    def documents(self, text_field: str, *, skipped: Counter[str] | None = None) -> Iterator[Document]:
        for name, paragraphs in map(json.loads, self.data.splitlines()):
            yield Document(name, "\n".join(paragraphs))


def _is_whole(path: Path) -> bool:
    """Whether the file is there, undamaged and with as many lines as its first one says."""
    try:
        with gzip.open(path) as file:
            expected = int(file.readline())
            lines = sum(data.count(b"\n") for data in iter(lambda: file.read(1 << 20), b""))
    except (OSError, EOFError, ValueError, zlib.error):
        return False
    return lines == expected


def _save(path: Path, texts: _Texts) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic.binary_stream(path) as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=5, mtime=0) as file,
        ):
            for line in (len(texts), *texts):
                file.write(json.dumps(line).encode() + b"\n")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{path}: cannot be written: {reason}; free space or set config.data.directory"
        ) from error
