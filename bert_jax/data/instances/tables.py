"""The two tables of an index on disk: read through a memory map, and put in the order of packed rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bert_jax.data.growing import GrowingArray
from bert_jax.data.instances.documents import SEGMENT, ranges
from bert_jax.data.instances.packing import pack_examples

_BLOCK = 2**18
"""Examples that are read at once."""


def read_table(path: Path, dtype: np.dtype) -> np.ndarray | None:
    """A one-dimensional .npy file, memory-mapped; None where it is missing, truncated, empty or not `dtype`."""
    try:
        with path.open("rb") as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                return None
            shape, _, found = np.lib.format.read_array_header_1_0(stream)
            if len(shape) != 1 or not shape[0] or found != dtype:
                return None
            if path.stat().st_size != stream.tell() + shape[0] * found.itemsize:
                return None
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        return None


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
    np.save(folder / "rows.npy", before[row_bounds])
    with GrowingArray(folder / "segments.npy", SEGMENT) as packed:
        for block in blocks:
            packed.append(segments[ranges(bounds[order[block]], of_example[block])])
    examples.unlink()
    starts.unlink()
