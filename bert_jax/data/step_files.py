"""Arrays that belong to steps, on disk: files of consecutive steps, each written once and whole.

    FOLDER/cache.json                        what the arrays are of, in words
    FOLDER/000000000-000000063.npz           steps 0 to 63: "STEP/rows", and an array "STEP/NAME" for each name

Any number of processes may use a folder at once: a step has the same content whoever writes it, a file appears whole or
not at all, and the last of two with one name stays. .npz holds a checksum of every array, which is compared as it is
read; "rows" is a checksum of the rows that the arrays were computed from.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax import array_file, atomic
from bert_jax.errors import UserError

MANIFEST = "cache.json"
_STEPS = 64
_BYTES = 2**28
"""Steps and bytes of a file, at most: what is lost when a process is killed, and what is held in memory."""
_HEADERS = 512
"""Bytes that an array takes in a file besides its own, at most."""
_NAME = re.compile(r"^(\d{9})-(\d{9})\.npz$")
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
)  # what zipfile and numpy raise

_log = logging.getLogger(__name__)


def rows_checksum(batch: Mapping[str, Any], names: tuple[str, ...]) -> int:
    """CRC-32 of these fields of a batch, those that it has."""
    checksum = 0
    for name in names:
        if name in batch:
            checksum = zlib.crc32(np.ascontiguousarray(batch[name]).data, checksum)
    return checksum


class StepFiles:
    """The arrays of the steps in `folder`, which is created.

    Args:
      names: of the arrays of every step.
      description: what decides them; written to `MANIFEST`.
      room: gives the bytes that may still be written; a file that does not fit is not written.

    Raises:
      UserError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        names: Iterable[str],
        description: Mapping[str, Any],
        *,
        room: Callable[[], float] = lambda: math.inf,
    ):
        self.folder, self._names, self._room = folder, ("rows", *names), room
        self._files: dict[int, Path] = {}
        self._sizes: dict[Path, int] = {}
        self._pending: dict[int, dict[str, np.ndarray]] = {}
        self._open: tuple[Path, zipfile.ZipFile] | None = None
        self.is_full = False
        """whether something was not written"""
        try:
            _describe(folder, json.dumps(description, indent=1) + "\n")
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be written ({error.strerror or error}): change config.distil.cache_directory"
            ) from error
        self._scan()

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(self._sizes.values())

    def read(self, step: int, rows: int) -> dict[str, np.ndarray] | None:
        """The arrays of a step; None where there are none, or a damaged file that is then removed.

        rows: the checksum of the rows that they must be of.

        Raises:
          UserError: they are of other rows.
        """
        if step not in self._files and not self._pending:  # another process may have written it
            self._scan()
        path = self._files.get(step)
        if path is None:
            return None
        try:
            arrays = self._arrays(path, step)
            found = int(arrays.pop("rows"))
        except _DAMAGE as error:
            self._remove(path, error)
            return None
        if found != rows:
            raise UserError(
                f"{path}: step {step} is of other rows (checksum {found}, the run's rows have {rows}): remove {self.folder}"
            )
        return arrays

    def add(self, step: int, rows: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps the arrays of a step, in memory until its file is full or `flush` is called."""
        if self._pending and step != max(self._pending) + 1:
            self._write()
        self._pending[step] = {"rows": np.uint32(rows), **arrays}  # type: ignore[dict-item]
        if len(self._pending) == _STEPS or _size(self._pending) >= _BYTES:
            self._write()

    def flush(self) -> None:
        """Writes what is in memory, and closes what is open."""
        self._write()
        self._close()

    def _write(self) -> None:
        steps, self._pending = self._pending, {}
        if not steps:
            return
        self._scan()
        if self._files.keys() >= steps.keys():  # another process was first
            return
        size = _size(steps)
        if size > self._room():
            self.is_full = True
            return
        path = self.folder / f"{min(steps):09}-{max(steps):09}.npz"
        named = {f"{step}/{name}": array for step, arrays in steps.items() for name, array in arrays.items()}
        try:
            with atomic.binary_stream(path) as stream:
                np.savez(stream, **named)  # type: ignore[arg-type]
        except OSError as error:  # nothing is lost but time
            self.is_full = True
            _log.warning("%s: cannot be written (%s): its steps are not kept", path, error.strerror or error)
            return
        self._note(path)

    def _scan(self) -> None:
        for path in sorted(self.folder.glob("*.npz")):
            if path not in self._sizes and _NAME.match(path.name):
                self._note(path)

    def _note(self, path: Path) -> None:
        try:
            self._sizes[path] = path.stat().st_size
        except FileNotFoundError:  # another process found it damaged
            return
        first, last = map(int, path.stem.split("-"))
        self._files |= dict.fromkeys(range(first, last + 1), path)

    def _arrays(self, path: Path, step: int) -> dict[str, np.ndarray]:
        if self._open is None or self._open[0] != path:
            self._close()
            self._open = path, zipfile.ZipFile(path)
        file = self._open[1]  # compares the checksum of what it reads
        held = path.stat().st_size
        return {
            name: array_file.array_of(array_file.member(file, f"{step}/{name}.npy", held))
            for name in self._names
        }

    def _remove(self, path: Path, error: Exception) -> None:
        self._close()
        _log.warning("%s: is damaged (%s): it is removed, and its steps are computed again", path, error)
        self._sizes.pop(path, None)
        self._files = {step: other for step, other in self._files.items() if other != path}
        with contextlib.suppress(OSError):  # of a disk that cannot be written, where it is found again
            path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _describe(folder: Path, text: str) -> None:
    """Makes the folder with its manifest, unless it is there: what is complete can be read where nothing can be written."""
    manifest = folder / MANIFEST
    with contextlib.suppress(FileNotFoundError, ValueError):
        if manifest.read_text(encoding="utf-8") == text:
            return
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_text(manifest, text)


def _size(steps: Mapping[int, Mapping[str, np.ndarray]]) -> int:
    """Bytes of their file, at most."""
    return sum(array.nbytes + _HEADERS for arrays in steps.values() for array in arrays.values())
