"""Checksums of the files of a folder: written once it is whole, compared when it is read.

In the format of sha256sum(1), so that `cd FOLDER && sha256sum --check SHA256SUMS` does the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bert_jax import atomic

SUMS_FILE = "SHA256SUMS"


def write(folder: Path, *, without: tuple[str, ...] = ()) -> None:
    """Writes the checksums of all files below `folder` into it.

    without: names of files that may still change.

    Raises:
      OSError: a file cannot be read, or the checksums cannot be written.
    """
    names = [name for name in _files(folder) if name not in without]
    with ThreadPoolExecutor() as pool:  # hashing leaves Python's lock alone
        sums = pool.map(lambda name: _sum(folder / name), names)
        lines = [f"{value}  {name}\n" for name, value in zip(names, sums, strict=True)]
    atomic.write_text(folder / SUMS_FILE, "".join(lines))


def fault(folder: Path, *, below: tuple[str, ...] = ("",)) -> str | None:
    """What is not as its checksum says in `folder`: the first file that is damaged or missing; None: nothing is, or the
    folder has no checksums.

    below: only files whose names begin with one of these are compared.
    """
    try:
        lines = (folder / SUMS_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        return f"{SUMS_FILE} cannot be read ({error})"
    entries = [line.partition("  ") for line in lines]
    if not entries or not all(value and name for value, _, name in entries):
        return f"{SUMS_FILE} is damaged"
    compared = [(name, value) for value, _, name in entries if name.startswith(below)]
    with ThreadPoolExecutor() as pool:
        for found in pool.map(lambda entry: _difference(folder, *entry), compared):
            if found:
                return found
    return None


def _difference(folder: Path, name: str, expected: str) -> str | None:
    file = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        return f"{SUMS_FILE} is damaged"
    if not file.is_file():
        return f"{name} is missing"
    try:
        found = _sum(file)
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return None if found == expected else f"{name} is not what was written: its checksum differs"


def _files(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name != SUMS_FILE:
            yield name


def _sum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
