"""A disk of its own, in memory: to be filled, emptied and made read-only. Only root may mount one."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults import forked

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


def refused_then_done(
    disk: Disk,
    command: Callable[[Path], Sequence[str]],
    output: Path,
    check: Callable[[Path], None],
    *,
    levels: int,
    seed: int = 0,
) -> list[str]:
    """Runs `command(folder)` on a disk with room for some of what it writes, then with all room, and `check(folder)`; so
    at each of `levels` levels. Returns the lines in which it said what was refused.

    A command that ends well although the disk was full, such as one whose caches alone were refused, is checked too.
    """
    place, rng = disk.folder / "run", random.Random(seed)
    before = disk.free
    assert forked.call(command(place), output) == 0, output.read_text()[-2000:]
    check(place)
    needed, lines = before - disk.free, []
    for pages in sorted(rng.sample(range(needed), min(levels, needed))):
        shutil.rmtree(place)
        disk.leave(pages)
        output.write_text("")
        status, said = forked.call(command(place), output), output.read_text()
        disk.free_all()
        assert "Traceback" not in said and "Exception ignored" not in said, (pages, said)
        if status:
            (line,) = (
                line for line in said.splitlines() if line.startswith("bert-jax: ") and "warning" not in line
            )
            assert status == 1 and "No space left on device" in line and str(disk.folder) in line, (
                pages,
                line,
            )
            lines.append(line)
            assert forked.call(command(place), output) == 0, (pages, output.read_text()[-2000:])
        check(place)
    shutil.rmtree(place)
    return lines
