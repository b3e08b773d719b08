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
from bert_jax.data.instances.documents import FIRST, SECOND, SEGMENT, Run, Visits, chunk_starts
from bert_jax.data.random import Purpose, below, heads, uniform


def pair_length(data: DataConfig) -> int:
    """Tokens that A and B may have together, and so the longest piece of a sentence."""
    return data.sequence_length - 3


def either_way(data: DataConfig) -> bool:
    """Whether documents are read from either end, so that the lengths of A and B do not tell their order.

    A chunk of whole sentences begins with the one that did not fit in the chunk before, and such a sentence
    is longer than most: read from one end only, the segment that comes first in the text would be the longer.
    """
    return (data.format, data.boundaries, data.sentence_objective) == ("segment_pair", "whole", "sop")


def needs_other_documents(data: DataConfig) -> bool:
    """Whether some B comes from another document."""
    return data.sentence_objective == "nsp" or _lone_is_random(data)


def pair_examples(runs: Iterable[Run], visits: Visits, data: DataConfig) -> Iterator[np.ndarray]:
    """The segments of each run's examples: SEGMENT [...], one array a run."""
    for run in runs:
        firsts = chunk_starts(functools.partial(_following, run, data), len(run))
        yield _segments(run, firsts, visits, data)


def _following(run: Run, data: DataConfig, at: np.ndarray) -> np.ndarray:
    """First piece of the chunk after the one that begins at each of `at`."""
    return _decide(run, at, data).following


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


def _decide(run: Run, at: np.ndarray, data: DataConfig) -> _Chunks:
    """What the chunks are that begin at pieces `at`, whether or not one does."""
    keys = run.chunk_keys(at)
    longest = pair_length(data)
    if data.format == "sentence_pair":
        target = np.full(len(at), longest, np.int64)
        end = np.minimum(at + 2, run.ends[at])
        middle = at + 1
    else:
        target = run.targets(at, longest, data)
        wanted = run.offsets[at] + target
        if data.boundaries == "whole":
            end = np.searchsorted(run.offsets, wanted, "right") - 1
        else:
            end = np.searchsorted(run.offsets, wanted, "left")
        fewest = 1 if _lone_is_random(data) else 2
        end = np.minimum(np.maximum(end, at + fewest), run.ends[at])
        middle = at + 1 + below(keys, Purpose.SPLIT, end - at - 1)
    lone = end - at == 1
    random, swapped = np.zeros((2, len(at)), bool)
    if data.sentence_objective != "none":
        coin = (uniform(keys, Purpose.COIN) < 0.5) & ~lone
        random, swapped = (coin, swapped) if data.sentence_objective == "nsp" else (random, coin)
    if _lone_is_random(data):
        random = random | lone
    return _Chunks(keys, target, middle, end, lone, random, swapped, np.where(random, middle, end))


def _segments(run: Run, at: np.ndarray, visits: Visits, data: DataConfig) -> np.ndarray:
    """The segments of the chunks that begin at pieces `at`."""
    chunks = _decide(run, at, data)
    keys, random, swapped = chunks.keys, chunks.random, chunks.swapped
    a_start, a_length = run.segment(at, chunks.middle)
    b_start, b_length = np.zeros((2, len(at)), np.int64)
    inner = np.flatnonzero(~chunks.lone)
    b_start[inner], b_length[inner] = run.segment(chunks.middle[inner], chunks.end[inner])
    drawn = np.flatnonzero(random)
    b_start[drawn], b_length[drawn] = _elsewhere(
        keys[drawn], run.places[at[drawn]], chunks.target[drawn] - a_length[drawn], visits, data
    )
    # Swapped before it is cut: cutting favours the first of two equals, and would otherwise write the
    # label into the lengths.
    exchanged = swapped ^ (run.backward[at] & ~chunks.lone)
    first, b_start = np.where(exchanged, b_start, a_start), np.where(exchanged, a_start, b_start)
    a_length, b_length = np.where(exchanged, b_length, a_length), np.where(exchanged, a_length, b_length)
    a_cut, b_cut = _cuts(a_length, b_length, pair_length(data))
    first += heads(keys, Purpose.FRONT_A, a_cut)
    b_start += heads(keys, Purpose.FRONT_B, b_cut)

    is_pair = ~chunks.lone | random
    paired = np.flatnonzero(is_pair)
    place = np.arange(len(at)) + np.cumsum(is_pair) - is_pair
    out = np.empty(len(at) + len(paired), SEGMENT)
    out["role"], out["label"] = FIRST, -1
    out["start"][place], out["length"][place] = first, a_length - a_cut
    second = place[paired] + 1
    out["start"][second], out["length"][second] = b_start[paired], (b_length - b_cut)[paired]
    out["role"][second] = SECOND
    if data.sentence_objective != "none":
        out["label"][place[paired]] = (random | swapped)[paired]
    return out


def _elsewhere(
    keys: np.ndarray, places: np.ndarray, wanted: np.ndarray, visits: Visits, data: DataConfig
) -> tuple[np.ndarray, np.ndarray]:
    """(first token, length) of a B from other documents than those at `places`."""
    documents = visits.others(keys, places, ten_draws="ten_draws" in data.quirks)
    sentence, last = visits.sentence_of(keys, documents)
    if data.format == "sentence_pair":
        return visits.first_piece(sentence)
    return visits.gather(sentence, last, wanted, whole=data.boundaries == "whole")


def _cuts(a: np.ndarray, b: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens to cut from A and from B until both fit in `longest`.

    In closed form what `truncate_seq_pair` does one token at a time: always from the longer, from B
    where they are equal.
    """
    excess = np.maximum(a + b - longest, 0)
    uneven = np.minimum(excess, np.abs(a - b))
    from_a = (excess - uneven) // 2 + np.where(a > b, uneven, 0)
    return from_a, excess - from_a
