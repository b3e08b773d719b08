"""Ways to damage a file."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

DEEP = 100_000
"""Nested brackets: more than any stack holds."""


def _nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 2**200, 1e308, float("nan"), float("inf"), "", "x\ny\x1b[31m\ud800", "../../x",
    "/etc/passwd", "..", "a" * 5000, [], [None], ["x"], {}, {"x": {"y": None}}, _nested(50), "<script>", "\0",
)  # fmt: skip
"""What a key of a JSON file may hold instead of what it should."""


def whole(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Damage that every file is tried with."""
    yield "empty", b""
    yield "zeros", bytes(len(content))
    yield "ones", b"\xff" * len(content)
    yield "twice", content + content
    yield "with an end", content + b"\0\xff\n{"
    yield "not UTF-8", content[: len(content) // 2] + b"\xff\xfe\xed\xa0\x80" + content[len(content) // 2 :]
    yield "null bytes", content[: len(content) // 2] + bytes(20) + content[len(content) // 2 :]
    yield "brackets", b"[" * DEEP
    yield "objects", b'{"a":' * DEEP
    yield "closed brackets", b"[" * DEEP + b"]" * DEEP
    yield "a long number", b"1" * 5000
    yield "an object", b"{}"
    yield "a list", b"[]"
    yield "a list of null", b"[null]"
    yield "null", b"null"
    yield "UTF-16", "x".encode("utf-16")
    yield "gzip", b"\x1f\x8b\x08" + bytes(30)
    yield "zip", b"PK\x03\x04" + bytes(60)


def truncated(content: bytes, places: int) -> Iterator[tuple[str, bytes]]:
    for at in _places(len(content), places):
        yield f"cut at {at}", content[:at]


def flipped(content: bytes, places: int) -> Iterator[tuple[str, bytes]]:
    """One byte each inverted, and one with a single bit flipped."""
    for at in _places(len(content), places):
        for mask in (0xFF, 1 << at % 8):
            yield f"byte {at} ^ {mask:#x}", content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]


def _places(size: int, most: int) -> list[int]:
    """The first and last ones, and others that are spread evenly."""
    if size <= most:
        return list(range(size))
    ends = most // 4
    spread = range(ends, size - ends, max(1, (size - 2 * ends) // (most - 2 * ends)))
    return [*range(ends), *spread, *range(size - ends, size)]


def retyped(content: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    """Keys of a JSON text with one of `VALUES`, or without their value; `most` of all pairs, drawn at random."""
    try:
        root = json.loads(content)
    except ValueError:
        return
    pairs = [(path, value) for path in _paths(root) for value in (*VALUES, *([_GONE] if path else []))]
    for path, value in random.Random(0).sample(pairs, min(most, len(pairs))):
        shown = "nothing" if value is _GONE else repr(value)[:40]
        yield f"{'.'.join(map(str, path))} = {shown}", _with(root, path, value)


_GONE = object()


def _paths(value: Any, most: int = 6) -> Iterator[tuple[Any, ...]]:
    """Of each value; of a long list or object the first and the last few."""
    yield ()
    items = list(
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, inner in items[:40] if isinstance(value, dict) else items[:most]:
        for path in _paths(inner):
            yield (key, *path)


def _with(root: Any, path: tuple[Any, ...], value: Any) -> bytes:
    if not path:
        return json.dumps(value).encode()
    changed = copy.deepcopy(root)
    at = changed
    for key in path[:-1]:
        at = at[key]
    if value is _GONE:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return json.dumps(changed).encode()


@dataclasses.dataclass(frozen=True)
class Edit:
    """`removed` bytes at place `at` (counted round the file) become `put`."""

    at: int
    removed: int
    put: bytes


def edited(content: bytes, edits: Iterable[Edit]) -> bytes:
    data = bytearray(content)
    for edit in edits:
        at = edit.at % (len(data) + 1)
        data[at : at + edit.removed] = edit.put
    return bytes(data)


TOKENS = (
    b"", b"\n", b"\r", b"\t", b'"', b"\\", b",", b"[", b"]", b"{", b"}", b"-", b"1e999", b"null", b"true", b"\0",
    b"\xff", b"\x7f" * 8, b"\xff" * 8, b"\xef\xbb\xbf", b"../", b"99999999999999999999", b"\\ud800", b"NaN", b"\x1b[2J",
)  # fmt: skip
"""What an edit may put into a file."""
