"""A block of raw text, cleaned, cut into sentences and chunks, every distinct chunk numbered.

Most chunks (a word with the space before it) are repeats. Only distinct ones are ever kept as text, counted for the
vocabulary and encoded; the rest is numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
from array import array
from collections import Counter
from pathlib import Path

import numpy as np

from bert_jax.config import CleaningConfig, DataConfig
from bert_jax.data.corpus import stage_files
from bert_jax.data.sources.blocks import RawBlock
from bert_jax.text import sentences
from bert_jax.text.cleaning import clean_lines


@dataclasses.dataclass(frozen=True)
class Cleaned:
    """The documents of one block that are not too short, in order. Every number is uint32, every hash uint64."""

    chunks: list[str]
    """Distinct chunks, in order of first occurrence."""
    numbers: np.ndarray
    """The chunk of each occurrence, as its index in `chunks`."""
    sentences: np.ndarray
    """Chunks in each sentence."""
    lines: np.ndarray
    """Sentences in each line."""
    documents: np.ndarray
    """Lines in each document."""
    characters: np.ndarray
    """Characters of each line."""
    document_hashes: np.ndarray
    line_hashes: np.ndarray
    """One per line if boilerplate is to be found, else none."""
    counts: dict[str, int]
    """What was read, corrected and left out."""

    def save(self, path: Path) -> None:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["chunks"] = np.frombuffer("\n".join(self.chunks).encode(), np.uint8)
        stage_files.save(path, fields)

    @classmethod
    def load(cls, path: Path) -> Cleaned:
        names = [field.name for field in dataclasses.fields(cls)]
        fields = stage_files.load(path, names)
        text = fields["chunks"].tobytes().decode()
        return cls(**fields | {"chunks": text.split("\n") if text else []})


def clean(block: RawBlock, data: DataConfig, cleaning: CleaningConfig) -> Cleaned:
    """Cleans a block; the same result in every process.

    Raises:
      UserError: text that cannot be read; names the place.
    """
    cleaner = _Cleaner(data, cleaning)
    skipped = Counter(block.skipped)
    for document in block.documents(data.text_field, skipped=skipped):
        cleaner.add(document.text)
    cleaner.counts.update({f"skipped_{reason}": count for reason, count in skipped.items()})
    return cleaner.finish()


class _Cleaner:
    def __init__(self, data: DataConfig, cleaning: CleaningConfig):
        self.counts: Counter[str] = Counter()
        self._cuts = sentences.splitter(data.sentences)
        self._cleaning = cleaning
        self._texts: list[str] = []
        self._sentences, self._lines = array("I"), array("I")
        self._documents, self._characters = array("I"), array("I")
        self._document_hashes, self._line_hashes = array("Q"), array("Q")

    def add(self, text: str) -> None:
        """Cleans a document and adds it, unless it is blank or too short."""
        self.counts["documents_read"] += 1
        lines = clean_lines(text, self._cleaning, self.counts)
        if not lines:
            self.counts["blank_documents"] += 1
            return
        if sum(map(len, lines)) < self._cleaning.min_characters:
            self.counts["short_documents"] += 1
            return
        self._documents.append(len(lines))
        self._document_hashes.append(_hash("\n".join(lines)))
        self._characters.extend(map(len, lines))
        if self._cleaning.boilerplate_documents:
            self._line_hashes.extend(map(_hash, lines))
        self._texts.append("\n" + "\n".join(map(self._cut, lines)))

    def finish(self) -> Cleaned:
        chunks, numbers = _number_chunks("".join(self._texts).encode())
        return Cleaned(
            chunks=chunks,
            numbers=numbers,
            sentences=np.frombuffer(self._sentences, np.uint32),
            lines=np.frombuffer(self._lines, np.uint32),
            documents=np.frombuffer(self._documents, np.uint32),
            characters=np.frombuffer(self._characters, np.uint32),
            document_hashes=np.frombuffer(self._document_hashes, np.uint64),
            line_hashes=np.frombuffer(self._line_hashes, np.uint64),
            counts=dict(self.counts),
        )

    def _cut(self, line: str) -> str:
        """Counts the line's sentences and their chunks; returns it with a break at each cut that no space marks."""
        cuts = self._cuts(line)
        self._lines.append(len(cuts) + 1)
        start = 0
        for cut in cuts:
            self._sentences.append(line.count(" ", start + 1, cut) + 1)
            start = cut
        self._sentences.append(line.count(" ", start + 1) + 1)
        for cut in reversed(cuts):
            if line[cut] != " ":
                line = f"{line[:cut]}\n{line[cut:]}"
        return line


def _number_chunks(text: bytes) -> tuple[list[str], np.ndarray]:
    """The distinct chunks of `text`, and the number of each occurrence: uint32.

    A chunk begins at every space, which is part of it, and after every line feed, which is not.
    """
    import pyarrow as pa

    if not text:
        return [], np.zeros(0, np.uint32)
    values = np.frombuffer(text, np.uint8)
    starts = np.flatnonzero((values == ord(" ")) | (values == ord("\n"))).astype(np.int32)
    offsets = pa.py_buffer(np.append(starts, np.int32(len(text))))
    strings = pa.StringArray.from_buffers(len(starts), offsets, pa.py_buffer(text))
    encoded = strings.dictionary_encode()
    chunks = [chunk.removeprefix("\n") for chunk in encoded.dictionary.to_pylist()]
    return chunks, encoded.indices.to_numpy().view(np.uint32)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
