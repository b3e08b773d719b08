"""Arrays from .npy and .npz files that may be damaged or come from anywhere.

No object is ever unpickled, and memory is bounded by the file's size, whatever its headers say; what is compressed has
a bound of its own.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

_MOST_UNPACKED = 2**28
"""Bytes of a compressed array."""


def mapped(path: Path, dtype: np.dtype) -> np.ndarray | None:
    """A one-dimensional .npy file, memory-mapped; None where it is missing, truncated, empty or not `dtype`."""
    try:
        with path.open("rb") as stream:
            shape, _, found = _header(stream)
            start, size = stream.tell(), path.stat().st_size
        if (
            dtype.hasobject
            or found != dtype
            or len(shape) != 1
            or not shape[0]
            or size != start + shape[0] * dtype.itemsize
        ):
            return None
        return np.memmap(path, dtype, "r", start, shape)
    except (OSError, ValueError):
        return None


def read_npz(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The named arrays of a file that `np.savez` wrote, None: all; their checksums are compared.

    Raises:
      OSError: there is no such file, or it cannot be read.
      ValueError: it is damaged, or has no array of a name.
    """
    with path.open("rb") as stream:
        try:
            with zipfile.ZipFile(stream) as file:
                wanted = [name.removesuffix(".npy") for name in file.namelist()] if names is None else names
                held = path.stat().st_size
                return {name: array_of(member(file, f"{name}.npy", held)) for name in wanted}
        except OSError:
            raise
        except Exception as error:  # zipfile raises whatever the bytes lead to
            raise ValueError(f"not an undamaged .npz file: {error!r}") from error


def member(file: zipfile.ZipFile, name: str, held: int) -> bytes:
    """A member's content, of an archive of `held` bytes; zipfile takes the memory that a member says it needs."""
    info = file.getinfo(name)
    is_stored = info.compress_type == zipfile.ZIP_STORED
    if info.compress_size > held or (is_stored and info.file_size != info.compress_size):
        raise ValueError(
            f"{name} says it has {info.file_size} bytes in {info.compress_size}, the file has {held}"
        )
    if not is_stored and info.file_size > _MOST_UNPACKED:
        raise ValueError(
            f"{name} is compressed and has {info.file_size} bytes, must have <= {_MOST_UNPACKED}"
        )
    return file.read(name)


def array_of(content: bytes) -> np.ndarray:
    """The array of a .npy file's content.

    Raises:
      ValueError: it is no .npy file, holds objects, or has another size than its header says.
    """
    stream = io.BytesIO(content)
    shape, is_fortran, dtype = _header(stream)
    data = memoryview(content)[stream.tell() :]
    if dtype.hasobject or len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(data)} bytes are no array of {shape} {dtype}")
    flat = np.frombuffer(data, dtype) if len(data) else np.empty(math.prod(shape), dtype)
    return np.array(
        flat.reshape(shape, order="F" if is_fortran else "C")
    )  # its own memory, that may be written


def crc32(path: Path) -> int:
    """CRC-32 of a file's content."""
    checksum = 0
    with path.open("rb") as stream:
        while block := stream.read(2**22):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("another version than 1.0")
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except OSError:
        raise
    except Exception as error:  # a header is Python's text of a dict, and numpy raises whatever it leads to
        raise ValueError(f"not the header of a .npy file: {error!r}") from error
    if any(size < 0 for size in shape):
        raise ValueError(f"a shape of {shape}")
    return shape, is_fortran, dtype
