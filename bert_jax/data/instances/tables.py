"""The two tables of an index on disk, put in the order of packed rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bert_jax.data.growing import GrowingArray
from bert_jax.data.instances.documents import SEGMENT, ranges
from bert_jax.data.instances.packing import pack_examples

_BLOCK = 2**18
"""Examples that are read at once."""


def write_packed(folder: Path, examples: Path, starts: Path, *, capacity: int, depth: int, seed: int) -> None:
    """Writes segments.npy and rows.npy of packed rows from the tables with one example per row.

    Args:
      examples, starts: those tables; they are removed.
      capacity: tokens of a row, at most. depth: examples of a row, at most.
    """
    segments, bounds = np.load(examples, mmap_mode="r"), np.load(starts)
    blocks = [slice(at, at + _BLOCK) for at in range(0, len(bounds) - 1, _BLOCK)]
    lengths = np.empty(len(bounds) - 1, np.int32)
    for block in blocks:
        first, last = bounds[block], bounds[min(block.stop, len(lengths))]
        slots = segments["length"][first[0] : last] + 1  # each with its [SEP]
        lengths[block] = np.add.reduceat(slots, first[: len(lengths[block])] - first[0]) + 1
    order, row_bounds = pack_examples(lengths, capacity=capacity, depth=depth, seed=seed)
    of_example = np.diff(bounds)[order]
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(of_example)])
    with GrowingArray(folder / "rows.npy", np.dtype(np.int64)) as rows:
        rows.append(before[row_bounds])
    with GrowingArray(folder / "segments.npy", SEGMENT) as packed:
        for block in blocks:
            packed.append(segments[ranges(bounds[order[block]], of_example[block])])
    examples.unlink()
    starts.unlink()
