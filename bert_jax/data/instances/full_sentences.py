"""Examples of whole sentences, without a label (Liu et al. 2019, section 4.2).

doc_sentences: [CLS] sentences of one document [SEP]
full_sentences: [CLS] sentences [SEP] sentences of the next document [SEP] ...
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import numpy as np

from bert_jax.config import DataConfig
from bert_jax.data.instances.documents import FIRST, NEXT, SEGMENT, Pieces, chunk_starts


def single_length(data: DataConfig) -> int:
    """Tokens of the longest segment, and so the longest piece of a sentence."""
    return data.sequence_length - 2


def document_examples(groups: Iterable[Pieces], data: DataConfig) -> Iterator[np.ndarray]:
    """doc_sentences: the segments of the examples of each group of visits, SEGMENT [...]."""
    for pieces in groups:
        firsts = chunk_starts(functools.partial(_document_following, pieces, data), len(pieces))
        yield _segments(pieces, firsts, len(pieces))


def crossing_examples(groups: Iterable[Pieces], data: DataConfig) -> Iterator[np.ndarray]:
    """full_sentences: the segments of the examples of each group of visits, SEGMENT [...].

    The last example of a group waits for the next group, whose text it may continue with.
    """
    rest: Pieces | None = None
    for pieces in groups:
        known = pieces if rest is None else rest.followed_by(pieces)
        # Slots of the pieces before each, with one for the [SEP] before each visit.
        slots = np.concatenate([np.zeros(1, np.int64), np.cumsum(known.lengths + known.begins)])
        firsts = chunk_starts(functools.partial(_crossing_following, known, data, slots), len(known))
        last = int(firsts[-1])
        yield _segments(known, firsts[:-1], last)
        rest = known.tail(last)
    if rest is not None:
        yield _segments(rest, np.zeros(1, np.int64), len(rest))


def _document_following(pieces: Pieces, data: DataConfig, at: np.ndarray) -> np.ndarray:
    """First piece of the example after the one that begins at each of `at`."""
    wanted = pieces.offsets[at] + pieces.targets(at, single_length(data), data)
    end = np.searchsorted(pieces.offsets, wanted, "right") - 1
    return np.minimum(np.maximum(end, at + 1), pieces.ends[at])


def _crossing_following(pieces: Pieces, data: DataConfig, slots: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The same across visits. There is no [SEP] before the first visit of an example."""
    wanted = slots[at] + pieces.begins[at] + pieces.targets(at, single_length(data), data)
    return np.maximum(np.searchsorted(slots, wanted, "right") - 1, at + 1)


def _segments(pieces: Pieces, firsts: np.ndarray, end: int) -> np.ndarray:
    """Pieces 0 to `end` - 1 as segments, cut before `firsts` (examples) and before each visit."""
    is_first = np.zeros(end, bool)
    is_first[firsts] = True
    begin = np.flatnonzero(is_first | pieces.begins[:end])
    out = np.empty(len(begin), SEGMENT)
    out["start"] = pieces.starts[begin]
    out["length"] = np.diff(pieces.offsets[np.append(begin, end)])
    out["role"] = np.where(is_first[begin], FIRST, NEXT)
    out["label"] = -1
    return out
