"""Packing: several examples in a row, so that few of its slots are padding.

Longest-pack-first histogram packing (Krell et al. 2021, "Efficient sequence packing without
cross-contamination", algorithm 1): examples of one length are interchangeable, so lengths are packed instead of
examples, and the time depends on the number of lengths, not on that of examples.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from bert_jax.data.random import Purpose, fold, root

Pack = tuple[int, ...]
"""Lengths of the examples of one row, longest first."""


def plan_packs(histogram: np.ndarray, *, capacity: int, depth: int) -> list[tuple[int, Pack]]:
    """Rows of at most `capacity` tokens and `depth` examples that hold `histogram[n]` examples of each length n.

    From the longest length to the shortest, each is put where it leaves the least space free.
    Returns (number of rows, their lengths) for each kind of row.
    """
    full: list[tuple[int, Pack]] = []
    open_: dict[int, list[tuple[int, Pack]]] = defaultdict(list)  # by free slots
    lengths = np.flatnonzero(histogram)
    shortest = int(lengths[0]) if len(lengths) else 0
    for length in lengths[::-1].tolist():
        left = int(histogram[length])
        while left:
            free = next((free for free in range(length, capacity) if open_[free]), capacity)
            count, pack = open_[free].pop() if free < capacity else (left, ())
            # As many into each as fit: what was just filled is what the next one fits best.
            repeat = min(free // length, depth - len(pack), left)
            used = min(count, left // repeat)
            if free < capacity and used < count:
                open_[free].append((count - used, pack))
            left -= used * repeat
            free, pack = free - repeat * length, pack + (length,) * repeat
            closed = len(pack) == depth or free < shortest
            (full if closed else open_[free]).append((used, pack))
    return full + [entry for free in sorted(open_) for entry in open_[free]]


def pack_examples(
    lengths: np.ndarray, *, capacity: int, depth: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which examples share a row: (examples row after row [examples], bounds of the rows in it [rows + 1]).

    `lengths`: tokens of each example, special tokens included. Examples of one length are taken in a
    pseudorandom order, so that rows mix documents.
    """
    lengths = lengths.astype(np.uint64)
    ties = fold(root(seed), np.array([Purpose.ORDER]))
    ties = fold(ties, np.arange(len(lengths), dtype=np.uint64))
    taken = np.argsort((lengths << 48) | (ties >> 16), kind="stable")
    histogram = np.bincount(lengths.astype(np.int64))
    next_of_length = np.cumsum(histogram) - histogram
    order, sizes, at = np.empty(len(lengths), np.int64), [], 0
    for rows, pack in plan_packs(histogram, capacity=capacity, depth=depth):
        block = order[at : at + rows * len(pack)].reshape(rows, len(pack))
        for slot, length in enumerate(pack):
            first = next_of_length[length]
            block[:, slot] = taken[first : first + rows]
            next_of_length[length] += rows
        sizes.append(np.full(rows, len(pack)))
        at += block.size
    bounds = np.zeros(sum(map(len, sizes)) + 1, np.int64)
    if sizes:
        np.cumsum(np.concatenate(sizes), out=bounds[1:])
    return order, bounds
