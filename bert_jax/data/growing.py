"""A .npy file that is written part by part."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class GrowingArray:
    """Writes a one-dimensional .npy file whose length is known only at the end, without holding it in memory.

    Its header says a length of 0 until it is closed, at the end of a `with` block or by `close`.
    """

    def __init__(self, path: Path, dtype: np.typing.DTypeLike):
        self.path = path
        self.count = 0
        """Entries written so far."""
        self._dtype = np.dtype(dtype)
        self._stream = path.open("wb")
        self._write_header()
        self._header_bytes = self._stream.tell()

    def append(self, entries: np.ndarray) -> None:
        self._stream.write(np.ascontiguousarray(entries, self._dtype).data)
        self.count += len(entries)

    def close(self) -> None:
        """Writes the length; closing again does nothing."""
        if self._stream.closed:
            return
        with self._stream:
            self._stream.seek(0)
            self._write_header()
            assert self._stream.tell() == self._header_bytes  # numpy leaves room for the length to grow

    def __enter__(self) -> GrowingArray:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write_header(self) -> None:
        description = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": description, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self._stream, header)
