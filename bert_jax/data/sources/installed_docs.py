"""The documentation that every machine has, as a source of English text: docstrings of the standard library and of the
installed packages, and Python's own help topics.

Processes that parse may import this module, so it imports nothing heavy at the top: no numpy, no tensorflow, no jax.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import hashlib
import json
import platform
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_jax import atomic
from bert_jax.data.cores import usable_cores
from bert_jax.data.sources.blocks import BLOCK_BYTES, DOCUMENT_BYTES, Document, RawBlock
from bert_jax.data.sources.cutting import Cutter, after_last_line
from bert_jax.data.sources.installed_modules import (
    Module,
    Roots,
    Texts,
    distributions,
    read_all,
    standard_library,
)
from bert_jax.errors import UserError

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
    def _installed(self) -> dict[tuple[str, str], list[Module]]:
        return distributions(self._roots.site_packages)

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

    def _make(self) -> Texts:
        modules = standard_library(self._roots.stdlib)
        for installed in self._installed.values():
            modules += installed
        seen: set[str] = set()
        texts = []
        for name, paragraphs in read_all(modules, processes=self._processes):
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


def _save(path: Path, texts: Texts) -> None:
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
