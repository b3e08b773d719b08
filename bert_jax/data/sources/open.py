"""The sources of text: the entries of `data.path`, opened and checked before any is read.

Every source describes its text (`identity`), yields it in the same order each time, and reports a fault as one line
with the place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from bert_jax.config import DataConfig
from bert_jax.data.sources.blocks import BLOCK_BYTES, DOCUMENT_BYTES, Document, RawBlock
from bert_jax.data.sources.entries import INSTALLED_DOCS, is_tfds
from bert_jax.data.sources.files import TextFiles
from bert_jax.data.sources.installed_docs import InstalledDocs
from bert_jax.data.sources.tfds import TfdsDataset
from bert_jax.errors import UserError

__all__ = ["BLOCK_BYTES", "DOCUMENT_BYTES", "Document", "Input", "RawBlock", "Source", "open_sources"]


class Input(Protocol):
    """What is read from beginning to end, such as a file."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def source(self) -> int:
        """The entry of data.path that it belongs to, from 0."""
        ...

    @property
    def number(self) -> int:
        """Among all inputs of the corpus, from 0."""
        ...

    @property
    def size(self) -> int:
        """In bytes as stored, for a progress bar; 0: unknown."""
        ...

    def blocks(self, *, block_bytes: int = ..., limit: int = ...) -> Iterator[RawBlock]:
        """Reads the input once and holds one block at a time; a document of more than `limit` bytes is left
        out or cut, and counted.

        Raises:
          UserError: it is damaged or missing, or has no such text field.
        """
        ...


class Source(Protocol):
    """One entry of `data.path`."""

    @property
    def name(self) -> str:
        """The entry."""
        ...

    def identity(self) -> dict[str, Any]:
        """Identifies the text, ready for JSON: equal identities, equal text.

        Where there is a "files", it lists [path, size in bytes, last change in ns] of each.
        """
        ...

    def inputs(self) -> Sequence[Input]:
        """In order, numbered on from the sources before."""
        ...


def open_sources(config: DataConfig, *, cache_dir: Path) -> list[Source]:
    """The sources that `config.path` names, in order; `cache_dir` is for what is slow to make.

    A file that two entries name belongs to the first.

    Raises:
      UserError: an input is missing, or no source is named.
    """
    sources: list[Source] = []
    taken: set[str] = set()
    first = 0
    for number, entry in enumerate(config.sources()):
        source: Source
        if entry == INSTALLED_DOCS:
            source = InstalledDocs(cache_dir, source=number, first=first)
        elif is_tfds(entry):
            source = TfdsDataset(
                entry, data_dir=config.tfds_dir, text_field=config.text_field, source=number, first=first
            )
        else:
            source = TextFiles(entry, text_field=config.text_field, source=number, first=first, taken=taken)
            taken |= source.files.keys()
        sources.append(source)
        first += len(source.inputs())
    if not sources:
        raise UserError(f"config.data.path={config.path!r} must name a source")
    return sources
