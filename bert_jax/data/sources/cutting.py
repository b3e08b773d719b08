"""Cuts a stream of bytes, or of values, into blocks of whole documents, without a Python step per line.

Where a block ends depends on the content alone, never on the sizes of the stream's reads. Memory is bounded by one
document of `limit` bytes and one block.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

_READ_BYTES = 1 << 20

# The bytes of white space in UTF-8: all that str.isspace() accepts, except the line feed.
_SPACE = (
    rb"[\t\x0b\x0c\r\x1c-\x1f ]|\xc2[\x85\xa0]|\xe1\x9a\x80"
    rb"|\xe2(?:\x80[\x80-\x8a\xa8\xa9\xaf]|\x81\x9f)|\xe3\x80\x80"
)
BLANK_LINE = re.compile(rb"\n(?:" + _SPACE + rb")*+\n")


class Readable(Protocol):
    """What a reader needs of a file."""

    def read(self, size: int, /) -> bytes: ...


@dataclasses.dataclass(frozen=True)
class Piece:
    """`data` begins at line `line` (from 1) and byte `offset` of the stream."""

    data: bytes
    line: int
    offset: int
    skipped: dict[str, int]


def after_last_line(data: bytes, start: int) -> int:
    """Where the last line of `.jsonl` ends, at `start` or later; 0: nowhere."""
    return data.rfind(b"\n", start) + 1


def after_last_blank_line(data: bytes, start: int) -> int:
    """Where the last document of `.txt` ends: after the last blank line that ends at `start` or later; 0: nowhere.

    Lines of other white space count only where there is no empty line.
    """
    start = max(0, data.rfind(b"\n", 0, start))
    for since in (max(start, len(data) - (1 << 16)), start):  # most often the last 64 KiB are enough
        plain, windows = data.rfind(b"\n\n", since), data.rfind(b"\n\r\n", since)
        if max(plain, windows) >= 0:
            return max(plain + 2 if plain >= 0 else 0, windows + 3 if windows >= 0 else 0)
    end = 0
    position = start
    while match := BLANK_LINE.search(data, position):
        end = match.end()
        position = end - 1
    return end


class Cutter:
    """The pieces of a stream, each at most `block_bytes` long unless one document needs more.

    A line longer than `limit` bytes is skipped (`too_long`). A longer document of several lines is cut at the end of
    a line (`cut`, once for each cut).
    """

    def __init__(
        self, stream: Readable, last_end: Callable[[bytes, int], int], *, block_bytes: int, limit: int
    ):
        self._stream = stream
        self._last_end = last_end
        self._block_bytes = block_bytes
        self._limit = limit
        self._buffer = b""
        self._line, self._offset = 1, 0  # of the buffer's first byte
        self._skipped: Counter[str] = Counter()
        self._unread: list[bytes] = []  # read but not yet in the buffer

    @property
    def lines_read(self) -> int:
        """Whole lines read so far, also after the stream failed."""
        return self._line - 1 + sum(data.count(b"\n") for data in (self._buffer, *self._unread))

    def __iter__(self) -> Iterator[Piece]:
        more = True
        while more:
            target, searched = min(self._block_bytes, self._limit + 1), 0
            while more := self._fill(target):
                if end := self._last_end(self._buffer, searched):
                    yield self._take(end)
                    break
                if len(self._buffer) > self._limit:
                    if end := after_last_line(self._buffer, 0):
                        self._skipped["cut"] += 1
                        yield self._take(end)
                    else:
                        self._skip_line()
                    break
                searched = len(self._buffer)
                target = min(searched + self._block_bytes, self._limit + 1)
        if self._buffer or self._skipped:
            yield self._take(len(self._buffer))

    def _fill(self, target: int) -> bool:
        """Reads until the buffer has `target` bytes; False if the stream ended before."""
        missing = target - len(self._buffer)
        while missing > 0 and (data := self._stream.read(min(missing, _READ_BYTES))):
            self._unread.append(data)
            missing -= len(data)
        self._buffer = b"".join((self._buffer, *self._unread))
        self._unread = []
        return missing <= 0

    def _take(self, end: int) -> Piece:
        piece = Piece(self._buffer[:end], self._line, self._offset, dict(self._skipped))
        self._skipped.clear()
        self._drop(end)
        return piece

    def _drop(self, end: int) -> None:
        self._line += self._buffer.count(b"\n", 0, end)
        self._offset += end
        self._buffer = self._buffer[end:]

    def _skip_line(self) -> None:
        """Skips the rest of the line that fills the buffer."""
        self._skipped["too_long"] += 1
        size = min(
            self._block_bytes, _READ_BYTES, self._limit + 1
        )  # so small that a document after it is not too long
        while not (end := self._buffer.find(b"\n") + 1):
            self._drop(len(self._buffer))
            if not self._fill(size):
                end = self._buffer.find(b"\n") + 1 or len(self._buffer)
                break
        self._drop(end)


@dataclasses.dataclass(frozen=True)
class ValueGroup:
    """Consecutive values, the first of them number `first` (from 0)."""

    first: int
    values: tuple[bytes | None, ...]
    skipped: dict[str, int]


def group_values(values: Iterable[bytes | None], *, block_bytes: int, limit: int) -> Iterator[ValueGroup]:
    """All values, in groups of `block_bytes` together, or just more.

    Values longer than `limit` bytes become None.
    """
    group: list[bytes | None] = []
    first, size = 0, 0
    skipped: Counter[str] = Counter()
    for value in values:
        if value is None:
            skipped["null"] += 1
        elif len(value) > limit:
            skipped["too_long"] += 1
            value = None
        group.append(value)
        size += 8 + len(value or b"")  # a million empty values fill a block too
        if size >= block_bytes:
            yield ValueGroup(first, tuple(group), dict(skipped))
            first, group, size = first + len(group), [], 0
            skipped.clear()
    if group:
        yield ValueGroup(first, tuple(group), dict(skipped))
