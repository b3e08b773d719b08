"""Examples of two segments, [CLS] A [SEP] B [SEP]: next sentence prediction, sentence order, or no label.

Devlin et al. 2019, section 3.1 and `create_pretraining_data.py` (nsp); Lan et al. 2020, section 3.1 (sop);
Liu et al. 2019, section 4.2 (the formats segment_pair and sentence_pair).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from bert_jax.config import DataConfig
from bert_jax.data.instances.documents import FIRST, SECOND, SEGMENT, DocumentOrder, Pieces, chunk_starts
from bert_jax.data.random import Purpose, below, heads, uniform


def pair_length(data: DataConfig) -> int:
    """Tokens that A and B may have together, and so the longest piece of a sentence."""
    return data.sequence_length - 3


def either_way(data: DataConfig) -> bool:
    """Whether documents are read from either end, so that the lengths of A and B do not tell their order.

    A chunk of whole sentences begins with the one that did not fit in the chunk before, and such a sentence is longer
    than most: read from one end only, the segment that comes first in the text would be longer on average.
    """
    return (data.format, data.boundaries, data.sentence_objective) == ("segment_pair", "whole", "sop")


def needs_other_documents(data: DataConfig) -> bool:
    """Whether some B comes from another document."""
    return data.sentence_objective == "nsp" or _lone_is_random(data)


def pair_examples(groups: Iterable[Pieces], order: DocumentOrder, data: DataConfig) -> Iterator[np.ndarray]:
    """The segments of the examples of each group of visits of `order`: SEGMENT [...]."""
    for pieces in groups:
        firsts = chunk_starts(functools.partial(_following, pieces, data), len(pieces))
        yield _segments(pieces, firsts, order, data)


def _following(pieces: Pieces, data: DataConfig, at: np.ndarray) -> np.ndarray:
    """First piece of the chunk after the one that begins at each of `at`."""
    return _decide(pieces, at, data).following


class _Chunks(NamedTuple):
    """Chunks of pieces: A is [at, middle), B is [middle, end) unless the chunk is lone or B is random."""

    keys: np.ndarray
    target: np.ndarray
    middle: np.ndarray
    end: np.ndarray
    lone: np.ndarray
    """One piece: nothing for B."""
    random: np.ndarray
    """B comes from another document, and what would have been B begins the next chunk."""
    swapped: np.ndarray
    following: np.ndarray
    """First piece of the next chunk."""


def _lone_is_random(data: DataConfig) -> bool:
    return "lone_is_random" in data.quirks and data.sentence_objective != "none"


def _decide(pieces: Pieces, at: np.ndarray, data: DataConfig) -> _Chunks:
    """The chunk that would begin at each of the pieces `at`."""
    keys = pieces.chunk_keys(at)
    longest = pair_length(data)
    if data.format == "sentence_pair":
        target = np.full(len(at), longest, np.int64)
        end = np.minimum(at + 2, pieces.ends[at])
        middle = at + 1
    else:
        target = pieces.targets(at, longest, data)
        wanted = pieces.offsets[at] + target
        if data.boundaries == "whole":
            end = np.searchsorted(pieces.offsets, wanted, "right") - 1
        else:
            end = np.searchsorted(pieces.offsets, wanted, "left")
        fewest = 1 if _lone_is_random(data) else 2
        end = np.minimum(np.maximum(end, at + fewest), pieces.ends[at])
        middle = at + 1 + below(keys, Purpose.SPLIT, end - at - 1)
    lone = end - at == 1
    random, swapped = np.zeros((2, len(at)), bool)
    if data.sentence_objective != "none":
        coin = (uniform(keys, Purpose.COIN) < 0.5) & ~lone
        random, swapped = (coin, swapped) if data.sentence_objective == "nsp" else (random, coin)
    if _lone_is_random(data):
        random = random | lone
    return _Chunks(keys, target, middle, end, lone, random, swapped, np.where(random, middle, end))


def _segments(pieces: Pieces, at: np.ndarray, order: DocumentOrder, data: DataConfig) -> np.ndarray:
    """The segments of the chunks that begin at pieces `at`."""
    chunks = _decide(pieces, at, data)
    a_start, a_length = pieces.segment(at, chunks.middle)
    b_start, b_length = np.zeros((2, len(at)), np.int64)
    inner = np.flatnonzero(~chunks.lone)
    b_start[inner], b_length[inner] = pieces.segment(chunks.middle[inner], chunks.end[inner])
    random = np.flatnonzero(chunks.random)
    b_start[random], b_length[random] = _elsewhere(
        chunks.keys[random], pieces.ranks[at[random]], chunks.target[random] - a_length[random], order, data
    )
    # Swapped before they are cut: cutting favours the first of two equal segments, and would otherwise write the label
    # into the lengths.
    exchanged = chunks.swapped ^ (pieces.backward[at] & ~chunks.lone)
    first_start, second_start = np.where(exchanged, b_start, a_start), np.where(exchanged, a_start, b_start)
    first_length = np.where(exchanged, b_length, a_length)
    second_length = np.where(exchanged, a_length, b_length)
    first_cut, second_cut = _cuts(first_length, second_length, pair_length(data))
    has_second = ~chunks.lone | chunks.random
    is_labelled = has_second & (data.sentence_objective != "none")
    return _interleave(
        first_start + heads(chunks.keys, Purpose.FRONT_A, first_cut),
        first_length - first_cut,
        second_start + heads(chunks.keys, Purpose.FRONT_B, second_cut),
        second_length - second_cut,
        has_second=has_second,
        labels=np.where(is_labelled, chunks.random | chunks.swapped, -1),
    )


def _interleave(
    first_start: np.ndarray,
    first_length: np.ndarray,
    second_start: np.ndarray,
    second_length: np.ndarray,
    *,
    has_second: np.ndarray,
    labels: np.ndarray,
) -> np.ndarray:
    """The segments of each example in turn: the first, then the second where it has one. SEGMENT [...].

    Four examples, of which the second has no second segment:

    >>> has_second = np.array([True, False, True, True])
    >>> np.cumsum(has_second) - has_second  # second segments before each example
    array([0, 1, 1, 2])
    >>> _interleave(
    ...     np.array([10, 20, 30, 40]), np.array([5, 6, 7, 8]),
    ...     np.array([90, 0, 70, 60]), np.array([3, 0, 2, 1]),
    ...     has_second=has_second, labels=np.array([1, -1, 0, 0]),
    ... ).tolist()  # (start, length, role, label)
    [(10, 5, 0, 1), (90, 3, 1, -1), (20, 6, 0, -1), (30, 7, 0, 0), (70, 2, 1, -1), (40, 8, 0, 0), (60, 1, 1, -1)]
    """
    seconds_before = np.cumsum(has_second) - has_second
    first = np.arange(len(has_second)) + seconds_before
    paired = np.flatnonzero(has_second)
    second = first[paired] + 1
    segments = np.empty(len(first) + len(second), SEGMENT)
    segments["start"][first], segments["length"][first] = first_start, first_length
    segments["role"][first], segments["label"][first] = FIRST, labels
    segments["start"][second], segments["length"][second] = second_start[paired], second_length[paired]
    segments["role"][second], segments["label"][second] = SECOND, -1
    return segments


def _elsewhere(
    keys: np.ndarray, ranks: np.ndarray, wanted: np.ndarray, order: DocumentOrder, data: DataConfig
) -> tuple[np.ndarray, np.ndarray]:
    """(first token, length) of a B from other documents than those of `ranks`."""
    documents = order.others(keys, ranks, ten_draws="ten_draws" in data.quirks)
    sentence, last = order.sentence_of(keys, documents)
    if data.format == "sentence_pair":
        return order.first_piece(sentence)
    return order.gather(sentence, last, wanted, whole=data.boundaries == "whole")


def _cuts(a: np.ndarray, b: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens to cut from A and from B until both fit in `longest`.

    In closed form what `truncate_seq_pair` does one token at a time: always from the longer, from B
    where they are equal.
    """
    excess = np.maximum(a + b - longest, 0)
    uneven = np.minimum(excess, np.abs(a - b))
    from_a = (excess - uneven) // 2 + np.where(a > b, uneven, 0)
    return from_a, excess - from_a
