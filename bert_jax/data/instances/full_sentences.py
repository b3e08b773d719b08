"""Examples of whole sentences, without a label (Liu et al. 2019, section 4.2).

doc_sentences: [CLS] sentences of one document [SEP]
full_sentences: [CLS] sentences [SEP] sentences of the next document [SEP] ...
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import numpy as np

from bert_jax.config import DataConfig
from bert_jax.data.instances.documents import FIRST, NEXT, SEGMENT, Run, chunk_starts


def single_length(data: DataConfig) -> int:
    """Tokens of the longest segment, and so the longest piece of a sentence."""
    return data.sequence_length - 2


def document_examples(runs: Iterable[Run], data: DataConfig) -> Iterator[np.ndarray]:
    """doc_sentences: the segments of each run's examples, SEGMENT [...]."""
    for run in runs:
        firsts = chunk_starts(functools.partial(_document_following, run, data), len(run))
        yield _segments(run, firsts, len(run))


def crossing_examples(runs: Iterable[Run], data: DataConfig) -> Iterator[np.ndarray]:
    """full_sentences: the segments of each run's examples, SEGMENT [...].

    A run's last example waits for the next run, whose text it may go on with.
    """
    rest: Run | None = None
    for run in runs:
        known = run if rest is None else rest.followed_by(run)
        # Slots of the pieces before each, with one for the [SEP] before each visit.
        slots = np.concatenate([np.zeros(1, np.int64), np.cumsum(known.lengths + known.begins)])
        firsts = chunk_starts(functools.partial(_crossing_following, known, data, slots), len(known))
        last = int(firsts[-1])
        yield _segments(known, firsts[:-1], last)
        rest = known.tail(last)
    if rest is not None:
        yield _segments(rest, np.zeros(1, np.int64), len(rest))


def _document_following(run: Run, data: DataConfig, at: np.ndarray) -> np.ndarray:
    """First piece of the example after the one that begins at each of `at`."""
    wanted = run.offsets[at] + run.targets(at, single_length(data), data)
    end = np.searchsorted(run.offsets, wanted, "right") - 1
    return np.minimum(np.maximum(end, at + 1), run.ends[at])


def _crossing_following(run: Run, data: DataConfig, slots: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The same across visits. No [SEP] stands before an example's own first visit."""
    wanted = slots[at] + run.begins[at] + run.targets(at, single_length(data), data)
    return np.maximum(np.searchsorted(slots, wanted, "right") - 1, at + 1)


def _segments(run: Run, firsts: np.ndarray, end: int) -> np.ndarray:
    """Pieces 0 to `end` - 1 as segments, cut before `firsts` (examples) and before each visit."""
    is_first = np.zeros(end, bool)
    is_first[firsts] = True
    begin = np.flatnonzero(is_first | run.begins[:end])
    out = np.empty(len(begin), SEGMENT)
    out["start"] = run.starts[begin]
    out["length"] = np.diff(run.offsets[np.append(begin, end)])
    out["role"] = np.where(is_first[begin], FIRST, NEXT)
    out["label"] = -1
    return out
