"""Small corpora without text: an index needs only where sentences and documents begin."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.config import DataConfig, PretrainConfig
from bert_jax.data.instances.index import FIRST, Index, Split, load_index
from tests.data.instances.oracle_instances import Example

Lengths = list[list[int]]
"""Tokens of each sentence of each document."""


@dataclasses.dataclass
class Corpus:
    """What `load_index` uses of `TokenShards`. Token n of the corpus has the number n."""

    folder: Path
    lengths: Lengths
    sources: list[int] = dataclasses.field(default_factory=list)
    """Documents of each source; empty: all are one's."""
    verified: int = 0

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr((self.lengths, self.sources)).encode()).hexdigest()[:16]

    @property
    def manifest(self) -> dict[str, Any]:
        return {"sources": [{"documents": n} for n in self.sources or [len(self.lengths)]]}

    @functools.cached_property
    def sentence_starts(self) -> np.ndarray:
        return np.cumsum([0, *(n for document in self.lengths for n in document)], dtype=np.int64)

    @functools.cached_property
    def document_starts(self) -> np.ndarray:
        return np.cumsum([0, *map(len, self.lengths)], dtype=np.int64)

    def verify(self) -> None:
        self.verified += 1

    def index(self, data: DataConfig, split: Split = "train", *, seed: int = 0) -> Index:
        return load_index(self, PretrainConfig(seed=seed, data=data), split)  # type: ignore[arg-type]

    def document_of(self) -> np.ndarray:
        """The document of each token."""
        return np.repeat(np.arange(len(self.lengths)), [sum(document) for document in self.lengths])


def random_lengths(seed: int, *, documents: int, sentences: int = 12, longest: int = 30) -> Lengths:
    rng = random.Random(seed)
    return [[rng.randint(1, longest) for _ in range(rng.randint(1, sentences))] for _ in range(documents)]


def examples_of(index: Index) -> list[list[Example]]:
    """Every row as lists of tokens."""
    rows = []
    for first, last in zip(index.rows[:-1].tolist(), index.rows[1:].tolist(), strict=True):
        row: list[Example] = []
        for start, length, role, label in index.segments[first:last].tolist():
            if role == FIRST:
                row.append([])
            row[-1].append((list(range(start, start + length)), role, label))
        rows.append(row)
    return rows


def slots_of(index: Index) -> np.ndarray:
    """Tokens of each row, special tokens included."""
    opens = index.segments["role"] == FIRST
    return np.add.reduceat(index.segments["length"] + 1 + opens, index.rows[:-1])
