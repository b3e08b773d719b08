"""A disk of its own, in memory: to be filled, emptied and made read-only. Only root may mount one."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = 4096
"""Bytes; files and folders take whole pages."""
_SIZE = 2**26


class Disk:
    """A file system of 64 MiB at `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._ballast = folder / ".ballast"

    def leave(self, pages: int) -> None:
        """Takes all room but so many pages."""
        self.free_all()
        with self._ballast.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, max(self.free - pages, 1) * PAGE)

    def free_all(self) -> None:
        """Gives back what `leave` took."""
        self._ballast.unlink(missing_ok=True)

    @property
    def free(self) -> int:
        """Pages that may still be written."""
        return os.statvfs(self.folder).f_bavail

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        _mount("-o", "remount,ro", str(self.folder))
        try:
            yield
        finally:
            _mount("-o", "remount,rw", str(self.folder))


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Disk]:
    """A new disk at `folder`; skips the test where none can be mounted."""
    folder.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        pytest.skip(f"no file system can be mounted here: {str(reason).strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True, text=True)
