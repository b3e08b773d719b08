"""Cutting: nothing is lost or moved whatever the sizes, and what is too long is passed over in bounded memory."""

from __future__ import annotations

import io
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data.sources.blocks import JsonlBlock, TextBlock
from bert_jax.data.sources.cutting import (
    BLANK_LINE,
    Cutter,
    after_last_blank_line,
    after_last_line,
    group_values,
)

LAST_END = {TextBlock: after_last_blank_line, JsonlBlock: after_last_line}


class Trickle(io.BytesIO):
    """A stream that gives less than it is asked for, as sockets and decompressors do."""

    def read(self, size: int = -1, /) -> bytes:
        return super().read(max(1, size // 3) if size > 0 else size)


def cut(data: bytes, kind, *, block_bytes: int, limit: int = 1 << 20, stream=io.BytesIO):
    return list(Cutter(stream(data), LAST_END[kind], block_bytes=block_bytes, limit=limit))


def documents(pieces, kind):
    """(line, lines that are not blank, stripped) of every document."""
    found = []
    for number, piece in enumerate(pieces):
        block = kind(
            source=0,
            input=0,
            number=number,
            name="f",
            data=piece.data,
            line=piece.line,
            offset=piece.offset,
        )
        for document in block.documents("text"):
            lines = [stripped for line in document.lines if (stripped := line.strip())]
            found.append((int(document.name.removeprefix("f:")), lines))
    return found


def text_oracle(text: str):
    found, start, lines = [], 0, []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if stripped := line.strip():
            start = start if lines else number
            lines.append(stripped)
        elif lines:
            found.append((start, lines))
            lines = []
    return found


_TEXT = st.lists(
    st.sampled_from(["a", "bb", "é", "\n", "\n\n", "\r\n", "\r\n\r\n", " ", "\t", "\u00a0", "\u3000", "\x1c"])
).map("".join)


@given(_TEXT, st.integers(1, 40))
def test_text_is_what_a_reader_line_by_line_finds(text, block_bytes):
    pieces = cut(text.encode(), TextBlock, block_bytes=block_bytes)
    assert b"".join(piece.data for piece in pieces) == text.encode()
    assert documents(pieces, TextBlock) == text_oracle(text)


@given(
    st.lists(st.sampled_from(['{"text": "%s"}' % ("x" * n) for n in (0, 1, 30)] + ["", " \r"])),
    st.integers(1, 99),
)
def test_jsonl_is_what_a_reader_line_by_line_finds(lines, block_bytes):
    data = "\n".join(lines).encode()
    pieces = cut(data, JsonlBlock, block_bytes=block_bytes)
    assert b"".join(piece.data for piece in pieces) == data
    expected = [(n, [line[10:-2]] if line[10:-2] else []) for n, line in enumerate(lines, 1) if line.strip()]
    assert documents(pieces, JsonlBlock) == expected


@given(st.text(st.sampled_from("ab\n")), st.integers(0, 20))
def test_the_search_goes_on_where_it_left_off(text, start):
    ends = [match.end() + 1 for match in re.finditer(r"\n(?=\n)", text)]
    expected = max((end for end in ends if end > start), default=0)
    assert after_last_blank_line(text.encode(), min(start, len(text))) == expected


@given(_TEXT, st.integers(1, 40), st.integers(1, 12), st.sampled_from([TextBlock, JsonlBlock]))
def test_pieces_depend_on_the_content_alone(text, block_bytes, limit, kind):
    data = text.encode()
    sizes = {"block_bytes": block_bytes, "limit": limit}
    assert cut(data, kind, **sizes) == cut(data, kind, **sizes, stream=Trickle)


@given(st.lists(st.integers(0, 30), min_size=1), st.integers(1, 40), st.integers(1, 20), st.booleans())
def test_exactly_the_lines_over_the_limit_are_skipped(lengths, block_bytes, limit, newline):
    lines = [chr(97 + n % 26).encode() * length for n, length in enumerate(lengths)]
    pieces = cut(b"\n".join(lines) + b"\n" * newline, JsonlBlock, block_bytes=block_bytes, limit=limit)
    found = {}
    for piece in pieces:
        found |= {piece.line + n: line for n, line in enumerate(piece.data.split(b"\n")) if line}
    assert found == {n: line for n, line in enumerate(lines, 1) if line and len(line) <= limit}
    assert sum(piece.skipped.get("too_long", 0) for piece in pieces) == sum(n > limit for n in lengths)


@given(_TEXT, st.integers(1, 40), st.integers(1, 12))
def test_text_with_a_limit_keeps_every_line_that_is_not_too_long(text, block_bytes, limit):
    pieces = cut(text.encode(), TextBlock, block_bytes=block_bytes, limit=limit)
    lines = text.encode().split(b"\n")
    for piece in filter(lambda piece: piece.data, pieces):
        first = b"\n".join(lines[: piece.line - 1])
        assert piece.offset == len(first) + (piece.line > 1)
    kept = [line for piece in pieces for line in piece.data.split(b"\n") if line.strip()]
    assert kept == [line for line in lines if len(line) <= limit and line.strip()]


def test_a_long_document_is_cut_at_the_end_of_a_line():
    data = b"one\n\n" + b"line\n" * 5 + b"\ntwo\n"
    pieces = cut(data, TextBlock, block_bytes=8, limit=12)
    assert [line for line, _ in documents(pieces, TextBlock)] == [1, 3, 5, 7, 9]
    assert sum(piece.skipped.get("cut", 0) for piece in pieces) == 2
    assert b"".join(piece.data for piece in pieces) == data


class Endless:
    """Many bytes without a line feed, then `end`."""

    def __init__(self, size: int, end: bytes):
        self.left, self.end = size, end

    def read(self, size: int, /) -> bytes:
        if self.left:
            size = min(size, self.left)
            self.left -= size
            return b"x" * size
        data, self.end = self.end[:size], self.end[size:]
        return data


@pytest.mark.parametrize("kind", [TextBlock, JsonlBlock])
@pytest.mark.parametrize("end", [b"", b"\n", b"\nlast"])
def test_a_line_without_end_passes_in_bounded_memory(kind, end):
    tracemalloc.start()
    try:
        (piece,) = Cutter(Endless(50_000_000, end), LAST_END[kind], block_bytes=1 << 16, limit=1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert piece.skipped == {"too_long": 1}
    assert (piece.data, piece.line) == ((b"last", 2) if end == b"\nlast" else (b"", 1 + bool(end)))
    assert peak < 5 << 20


def test_a_blank_line_is_what_python_calls_blank():
    codes = (
        code for code in range(0x10000) if not 0xD800 <= code < 0xE000 and code != 10
    )  # none beyond is blank
    lines = {code: f"\n{chr(code)}\n".encode() for code in codes}
    found = {code for code, line in lines.items() if BLANK_LINE.fullmatch(line)}
    assert found == {code for code in lines if chr(code).isspace()}


@given(st.lists(st.one_of(st.none(), st.binary(max_size=30))), st.integers(1, 99), st.integers(1, 25))
def test_groups_keep_every_value_in_its_place(values, block_bytes, limit):
    groups = list(group_values(values, block_bytes=block_bytes, limit=limit))
    flat = [value for group in groups for value in group.values]
    assert flat == [None if value and len(value) > limit else value for value in values]
    assert [group.first for group in groups] == [
        sum(len(group.values) for group in groups[:n]) for n in range(len(groups))
    ]
    total = {name: sum(group.skipped.get(name, 0) for group in groups) for name in ("null", "too_long")}
    assert total == {
        "null": values.count(None),
        "too_long": sum(value is not None and len(value) > limit for value in values),
    }
    for group in groups[:-1]:
        assert sum(8 + len(value or b"") for value in group.values[:-1]) < block_bytes
