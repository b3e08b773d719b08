"""The two tables of an index on disk: written piece by piece, read through a memory map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bert_jax.data.instances.documents import SEGMENT, ranges
from bert_jax.data.instances.packing import pack_examples

_BLOCK = 2**18
"""Examples dealt with at once."""


class Appender:
    """Writes a one-dimensional .npy whose length is known only at the end, without holding it in memory."""

    def __init__(self, path: Path, dtype: np.dtype):
        self._dtype = dtype
        self._stream = path.open("wb")
        self.count = 0
        self._write_header()
        self._data_at = self._stream.tell()

    def append(self, entries: np.ndarray) -> None:
        self._stream.write(np.ascontiguousarray(entries, self._dtype).data)
        self.count += len(entries)

    def __enter__(self) -> Appender:
        return self

    def __exit__(self, *_) -> None:
        with self._stream:
            self._stream.seek(0)
            self._write_header()
            assert self._stream.tell() == self._data_at  # numpy leaves room for the length to grow

    def _write_header(self) -> None:
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self._stream, header)


def read_table(path: Path, dtype: np.dtype) -> np.ndarray | None:
    """A one-dimensional .npy memory-mapped, or None where it is missing, cut or not `dtype`."""
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
    """Writes segments.npy and rows.npy of packed rows from the tables with an example a row.

    `examples`, `starts`: those tables; they are removed.
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
    with Appender(folder / "segments.npy", SEGMENT) as packed:
        for block in blocks:
            packed.append(segments[ranges(bounds[order[block]], of_example[block])])
    examples.unlink()
    starts.unlink()
