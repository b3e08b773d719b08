"""The local files that an entry names, their format, and their lines."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from bert_jax.data.sources import streams
from bert_jax.data.sources.entries import is_remote
from bert_jax.errors import UserError

FORMATS = ("tsv", "csv", "jsonl", "json", "parquet", "conll", "conllu", "squad")
_BY_SUFFIX = {f".{name}": name for name in FORMATS if name != "squad"} | {".txt": "conll"}
_BYTE_ORDER_MARK = "\ufeff"
_BEGINNING = 2**16  # bytes


@dataclasses.dataclass(frozen=True)
class File:
    path: str
    format: str

    @property
    def name(self) -> str:
        """For messages."""
        return self.path


def find(entry: str, *, formats: Collection[str]) -> list[File]:
    """The files of `[FORMAT:]PATH`, where PATH may be a glob, sorted by path.

    Args:
      formats: those that are accepted.

    Raises:
      UserError: no file, a folder, or a format that is unknown or not accepted.
    """
    prefix, colon, rest = entry.partition(":")
    format_name, path = (prefix, rest) if colon and prefix in FORMATS else ("", entry)
    if is_remote(path):
        raise UserError(f"{entry!r} must be a local path; copy the file to this machine")
    place = Path(path).expanduser()
    if place.exists():
        paths = [place]
    else:
        paths = sorted(map(Path, glob.glob(str(place), recursive=True))) if glob.has_magic(path) else []
    if not paths:
        raise UserError(f"{entry!r}: no such file (looked in {Path.cwd()}); correct the path")
    for found in paths:
        if found.is_dir():
            raise UserError(f"{entry!r}: {found} is a folder; name files, such as {found}/*.tsv")
    return [File(str(found), _format(found, format_name, formats)) for found in paths]


def _format(path: Path, given: str, formats: Collection[str]) -> str:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    name = given or _BY_SUFFIX.get(suffix.lower(), "")
    if name in formats:
        return name
    known = ", ".join(formats)
    if not name:
        raise UserError(
            f"{path}: the ending {suffix!r} does not tell the format; name it before the path, FORMAT:{path}, where"
            f" FORMAT is one of {known}"
        )
    raise UserError(
        f"{path}: the format {name!r} does not hold such examples; it must be one of {known}, by its ending (.gz may"
        f" follow) or named before the path, such as {next(iter(formats))}:{path}"
    )


@contextlib.contextmanager
def opened(file: File) -> Iterator[BinaryIO]:
    """The bytes as stored.

    Raises:
      UserError: it cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(open(file.path, "rb"))
        except OSError as error:
            raise _fault(file, error) from error
        yield stream


def lines(file: File) -> Iterator[tuple[int, str]]:
    """Each line with its end, and its number from 1. A byte-order mark at the beginning is dropped.

    Raises:
      UserError: the file is damaged or not UTF-8, or a line is too long.
    """
    number = 0
    with opened(file) as raw, streams.decompressed(file.path, raw) as stream:
        while True:
            data = _read(file, stream.readline, streams.LINE_BYTES + 1, lines=number)
            if not data:
                return
            number += 1
            place = f"{file.name}:{number}"
            if len(data) > streams.LINE_BYTES:
                raise UserError(
                    f"{place}: the line has > {streams.LINE_BYTES} bytes, must have fewer; cut the text"
                )
            text = decode(data, place=place)
            yield number, text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text


def text(file: File, *, most: int) -> str:
    """The whole file, without a byte-order mark; `most` bytes of it at most.

    Raises:
      UserError: the file is damaged, not UTF-8 or too long.
    """
    with opened(file) as raw, streams.decompressed(file.path, raw) as stream:
        data = _read(file, stream.read, most + 1)
    if len(data) > most:
        raise UserError(
            f"{file.name}: has > {most} bytes, must have fewer to be read as a whole; write JSON lines"
        )
    return decode(data, place=file.name).removeprefix(_BYTE_ORDER_MARK)


def beginning(file: File) -> str:
    """What is not white space of the file's first bytes; "": nothing."""
    with opened(file) as raw, streams.decompressed(file.path, raw) as stream:
        data = _read(file, stream.read, _BEGINNING)
    return str(data, "utf-8", "replace").removeprefix(_BYTE_ORDER_MARK).lstrip()


def _read(file: File, read: Callable[[int], bytes], size: int, *, lines: int = 0) -> bytes:
    """`read(size)`; raises `UserError` where the stream cannot be read on, after so many lines."""
    try:
        return read(size)
    except streams.READ_FAULTS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise _fault(file, error) from error
        raise streams.read_fault(file.path, error, lines=lines) from error


def _fault(file: File, error: OSError) -> UserError:
    return UserError(f"{file.name}: cannot be read: {error.strerror or error}; correct the path")


def decode(data: bytes, *, place: str) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{place}: byte 0x{data[error.start]:02x}, number {error.start + 1} of the line or field, is not UTF-8;"
            " convert the file with: iconv -f ITS_ENCODING -t UTF-8"
        ) from error


def without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")
