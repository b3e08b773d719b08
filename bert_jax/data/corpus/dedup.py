"""Deduplication: documents that are equal, and lines that many documents share.

Decided over 64-bit hashes, a partition of their range at a time, so that memory does not grow with the corpus. Of
10^8 different documents, two are taken for equal with a probability of 0.0003.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from bert_jax.data.corpus.clean import Cleaned

_PARTITION = 2**21
"""Hashes that are sorted together, about: 32 MiB with their positions, and as much again to sort them."""
_RECORD = np.dtype([("hash", "<u8"), ("document", "<i8")])


def mark_first(hashes: Iterable[np.ndarray], kept: np.ndarray, folder: Path) -> None:
    """Sets kept[d] to whether document d is the first of those with its hash.

    Args:
      hashes: uint64 arrays, the documents' in order. kept: bool [documents], written.
      folder: where the partitions are stored meanwhile.
    """

    def records() -> Iterator[np.ndarray]:
        position = 0
        for block in hashes:
            yield _records(block, np.arange(position, position + len(block)))
            position += len(block)

    kept[:] = False
    for part in _partitions(records(), len(kept), folder):
        order = np.argsort(part["hash"], kind="stable")  # stable: within one hash, corpus order
        ordered = part["hash"][order]
        first = np.ones(len(part), bool)
        first[1:] = ordered[1:] != ordered[:-1]
        kept[part["document"][order[first]]] = True


def shared_lines(
    lines: Iterable[tuple[np.ndarray, np.ndarray]], *, total: int, documents: int, folder: Path
) -> np.ndarray:
    """The hashes of lines that occur in at least so many `documents`: uint64, sorted.

    Args:
      lines: (hashes uint64 [n], the document of each [n]), no document in two of the pairs.
      total: lines in all.
    """
    found = [np.zeros(0, np.uint64)]
    records = (np.unique(_records(*pair)) for pair in lines)  # a line twice in a document counts once
    for part in _partitions(records, total, folder):
        distinct, counts = np.unique(part["hash"], return_counts=True)
        found.append(distinct[counts >= documents])
    return np.sort(np.concatenate(found))


def _records(hashes: np.ndarray, documents: np.ndarray) -> np.ndarray:
    records = np.empty(len(hashes), _RECORD)
    records["hash"], records["document"] = hashes, documents
    return records


def _partitions(blocks: Iterable[np.ndarray], total: int, folder: Path) -> Iterator[np.ndarray]:
    """The records of all blocks, in their order, equal hashes in one array; one array at a time."""
    count = -(-total // _PARTITION)
    if count <= 1:
        yield np.concatenate([np.zeros(0, _RECORD), *blocks])
        return
    files = [folder / f"hashes-{number}" for number in range(count)]
    for file in files:
        file.write_bytes(b"")
    for block in blocks:
        part = (block["hash"] >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], np.arange(count), side="right")
        for file, records in zip(files, np.split(block[order], ends[:-1]), strict=True):
            if len(records):
                with file.open("ab") as stream:
                    stream.write(records.tobytes())
    for file in files:
        yield np.fromfile(file, _RECORD)
        file.unlink()


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is left of a block. Empty lines and documents do not occur."""

    numbers: np.ndarray
    """The chunk of each occurrence."""
    sentences: np.ndarray
    """Chunks in each sentence."""
    documents: np.ndarray
    """Sentences in each document."""
    counts: dict[str, int]


def select(cleaned: Cleaned, kept: np.ndarray, boilerplate: np.ndarray, *, min_characters: int) -> Kept:
    """What of a block is kept.

    A document that is empty, or shorter than `min_characters`, without its boilerplate lines goes too.

    Args:
      kept: bool [documents of the block]. boilerplate: hashes of lines, sorted.
    """
    document_of = np.repeat(np.arange(len(cleaned.documents)), cleaned.documents)
    line_kept = kept[document_of]
    dropped = np.zeros(len(line_kept), bool)
    if len(boilerplate):
        dropped = line_kept & np.isin(cleaned.line_hashes, boilerplate)
        line_kept &= ~dropped
    characters = np.bincount(document_of, cleaned.characters * line_kept, len(kept))
    short = kept & (characters < max(min_characters, 1))
    line_kept &= ~short[document_of]
    sentence_kept = np.repeat(line_kept, cleaned.lines)
    chunk_kept = np.repeat(sentence_kept, cleaned.sentences)
    sentences = np.bincount(document_of, cleaned.lines * line_kept, len(kept)).astype(np.int64)
    return Kept(
        numbers=cleaned.numbers[chunk_kept],
        sentences=cleaned.sentences[sentence_kept],
        documents=sentences[sentences > 0],
        counts={
            "characters": int(cleaned.characters[line_kept].sum(dtype=np.int64)),
            "duplicate_documents": int(np.count_nonzero(~kept)),
            "boilerplate_lines": int(np.count_nonzero(dropped)),
            "short_documents": int(np.count_nonzero(short)),
        },
    )
