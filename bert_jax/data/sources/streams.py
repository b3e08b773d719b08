"""Opening one file to read its bytes, local or remote, plain, gzip or zstd; and the messages when that fails."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bert_jax.data.sources.entries import is_remote
from bert_jax.errors import UserError

# The package that reads a scheme when TensorFlow does not: TensorFlow itself reads gs:// alone.
_BACKENDS = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs", "hf": "huggingface_hub"}

READ_FAULTS = (OSError, EOFError, zlib.error)  # what reading an opened stream may raise
LINE_BYTES = 64 << 20
"""Of a line that is held in memory: a small compressed file can be one line of any length."""


def remote_path(uri: str) -> Any:
    """`uri` as an `etils.epath.Path`.

    Raises:
      UserError: an unknown scheme.
    """
    from etils import epath

    try:
        return epath.Path(uri)
    except KeyError as error:
        known = ", ".join(f"{scheme}://" for scheme in _BACKENDS)
        raise UserError(
            f"{uri}: {uri.partition('://')[0]}:// is not one of {known}; correct the path"
        ) from error


def remote_fault(uri: str, error: Exception) -> UserError:
    """One line for whatever a storage library raised."""
    scheme = uri.partition("://")[0]
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, ImportError) or "not implemented" in reason:
        package = _BACKENDS.get(scheme, f"the fsspec package for {scheme}://")
        return UserError(
            f"{uri}: nothing installed reads {scheme}:// ({reason}); pip install {package}, and set the environment"
            " variable EPATH_USE_TF=0"
        )
    return UserError(f"{uri}: cannot be read: {reason}; check the path, the network and the credentials")


def file_fault(path: str, error: OSError) -> UserError:
    return UserError(
        f"{path}: cannot be read: {error.strerror or error}; correct the path, or remove it from config.data.path"
    )


def read_fault(path: str, error: Exception, *, lines: int) -> UserError:
    """One line for what reading an opened stream raised, after `lines` whole lines."""
    if isinstance(error, gzip.BadGzipFile):
        return UserError(
            f"{path}: ends in .gz but is not valid gzip after line {lines} ({error}); compress it again or rename it"
        )
    if isinstance(error, OSError) and not (path.endswith(".zst") and error.errno is None):
        return file_fault(path, error)
    kind = "gzip" if path.endswith(".gz") else "zstd"
    reason = " ".join(str(error).split())
    return UserError(
        f"{path}: the {kind} data is truncated or damaged after line {lines} ({reason}); copy the file again"
    )


@contextlib.contextmanager
def open_raw(path: str) -> Iterator[BinaryIO]:
    """The file's own bytes, seekable. Reading raises only `OSError`, also from remote storage."""
    if not is_remote(path):
        with open(path, "rb") as file:
            yield file
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(remote_path(path).open("rb"))
        except Exception as error:  # TensorFlow, fsspec and each cloud's client have their own
            raise remote_fault(path, error) from error
        yield io.BufferedReader(_Remote(file), 1 << 20)


class _Remote(io.RawIOBase):
    """A file that `epath` opened, as an ordinary one: some backends lack `readinto` and `closed`."""

    def __init__(self, file: Any):
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _as_os_error():
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with _as_os_error():
            self._file.seek(offset, whence)
            return self._file.tell()

    def tell(self) -> int:
        with _as_os_error():
            return self._file.tell()


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise OSError(errno.EIO, " ".join(str(error).split())[:300]) from error


@contextlib.contextmanager
def decompressed(path: str, raw: BinaryIO) -> Iterator[BinaryIO]:
    """The decompressed content of `raw`, by the ending of `path`. Reading raises `READ_FAULTS`."""
    match Path(path).suffix:
        case ".gz":
            with gzip.GzipFile(fileobj=raw) as file:
                yield file  # type: ignore[misc]
        case ".zst":
            import pyarrow

            with pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, "r"), "zstd") as file:
                yield file
        case _:
            yield raw
