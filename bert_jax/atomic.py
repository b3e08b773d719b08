"""Files and folders that appear whole or not at all: written beside their place, then renamed.

What is under way is named `.NAME.HOST-PROCESS.partial`, which no other process uses. It is removed on any error; only
a killed process leaves it behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bert_jax.errors import UserError, refusal


def write_text(path: Path, text: str) -> None:
    """Writes `text` in UTF-8.

    Raises:
      OSError: the file cannot be written; an older one is still there.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content`; otherwise as `write_text`."""
    with binary_stream(path) as stream:
        stream.write(content)


@contextlib.contextmanager
def binary_stream(path: Path) -> Iterator[BinaryIO]:
    """Yields a stream; what is written to it becomes the file `path` when the block ends without an error."""
    partial = _beside(path)
    try:
        with naming(path):
            with partial.open("wb") as stream:
                yield stream
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """What the system refuses inside names `path`: of a write it gives the reason alone, of a name the one meanwhile."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(_beside(path))):
            error.filename = str(path)
        raise


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder, which becomes `path` when the block ends without an error.

    Its files get the folder's own permissions: some libraries write files that only their owner can read.

    Raises:
      OSError: `path` is a file or holds something; it cannot be written.
    """
    partial = _beside(path)
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process of this number
    try:
        partial.mkdir(parents=True)
        yield partial
        mode = partial.stat().st_mode & 0o666
        for file in partial.rglob("*"):
            if file.is_file():
                file.chmod(mode)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_free(path: Path) -> None:
    """Raises `UserError` where `path`, the folder of an export, is a file or holds something."""
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"{path}: is not empty; an export needs a new or an empty folder: name another one")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file; an export needs a new or an empty folder: name another one")


@contextlib.contextmanager
def export_folder(path: Path, *, faults: tuple[type[Exception], ...] = ()) -> Iterator[Path]:
    """As `folder`, for a `path` that the user named.

    Args:
      faults: errors besides OSError that a failed write raises inside the block, such as a library's own.

    Raises:
      UserError: `path` is a file or holds something; it cannot be written.
    """
    check_free(path)
    all_faults: tuple[type[Exception], ...] = (OSError, *faults)
    try:
        with folder(path) as partial:
            yield partial
    except all_faults as error:
        raise UserError(f"{path}: cannot be written ({refusal(error)}): name another folder") from error


def _beside(path: Path) -> Path:
    return path.parent / f".{path.name}.{os.uname().nodename}-{os.getpid()}.partial"
