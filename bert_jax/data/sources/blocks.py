"""Blocks of whole documents as they were read, and their decoding, which is the work of worker processes.

Workers import this module, so it imports nothing heavy: no numpy, no tensorflow, no pyarrow.
"""

from __future__ import annotations

import abc
import codecs
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from bert_jax.errors import UserError

BLOCK_BYTES = 8 << 20  # of decompressed text
DOCUMENT_BYTES = 64 << 20  # longer documents are left out or cut, and counted

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # of UTF-32 too, little-endian
UTF16_FAULT = (
    "begins with the byte-order mark of UTF-16, must be UTF-8: convert it with iconv -f UTF-16 -t UTF-8"
)
_BYTE_ORDER_MARK = "\ufeff"
_GAP = re.compile(r"\n(?:[^\S\n]*+\n)+")  # the end of a line, and blank lines


@dataclasses.dataclass(frozen=True)
class Document:
    """One text as the source has it; a sentence never crosses a line.

    `name` is for messages: file:line (from 1), or file:row and dataset:split:index (from 0).
    """

    name: str
    text: str

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the text, unchanged: with blank ones, and with the CR before a line feed."""
        return tuple(self.text.split("\n"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawBlock(abc.ABC):
    """About `BLOCK_BYTES` of undecoded text, cut at ends of documents by content alone. Small to pickle."""

    source: int  # entry of data.path, from 0
    input: int  # file among all inputs of the corpus, from 0
    number: int  # block of that input, from 0
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Counts of what the reader left out or cut: `too_long` lines and values, `cut` documents, `null` values."""
    position: int = dataclasses.field(default=0, compare=False)
    """Bytes of `Input.size` read so far, for a progress bar."""

    @abc.abstractmethod
    def documents(self, text_field: str, *, skipped: Counter[str] | None = None) -> Iterator[Document]:
        """Each document, in order; some may be blank.

        skipped: counts what only decoding finds and leaves out, as `RawBlock.skipped` does.

        Raises:
          UserError: text that cannot be read, with its place.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Lines(RawBlock):
    """Lines of a file."""

    name: str
    data: bytes
    line: int  # number of the first line, from 1
    offset: int  # byte of the decompressed file at which `data` begins

    def _decode(self, data: bytes, *, line: int, offset: int) -> str:
        """`data`, which begins at `line` and at `offset` of the file, without the file's byte-order mark."""
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError as error:
            if not offset and data.startswith(UTF16_MARKS):
                raise UserError(f"{self.name}: {UTF16_FAULT}") from error
            number = line + data.count(b"\n", 0, error.start)
            raise UserError(
                f"{self.name}:{number}: byte 0x{data[error.start]:02x} at offset {offset + error.start} of the"
                " text is not UTF-8; convert the file with: iconv -f ITS_ENCODING -t UTF-8"
            ) from error
        return text if offset else text.removeprefix(_BYTE_ORDER_MARK)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextBlock(_Lines):
    """Of a `.txt` file: blank lines separate documents."""

    def documents(self, text_field: str, *, skipped: Counter[str] | None = None) -> Iterator[Document]:
        text = "\n" + self._decode(self.data, line=self.line, offset=self.offset)
        line, start = self.line - 1, 0  # of the line feed before each document
        for gap in (*_GAP.finditer(text), None):
            end = gap.start() if gap else len(text)
            body = text[start + 1 : end]
            if body and not body.isspace():
                yield Document(f"{self.name}:{line + 1}", body)
            if gap:
                line += text.count("\n", start, gap.end() - 1)
                start = gap.end() - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonlBlock(_Lines):
    """Of a `.jsonl` file: one document per line; blank lines and nulls are left out."""

    def documents(self, text_field: str, *, skipped: Counter[str] | None = None) -> Iterator[Document]:
        offset = self.offset
        for number, raw in enumerate(self.data.split(b"\n"), self.line):
            line = self._decode(raw, line=number, offset=offset)
            offset += len(raw) + 1
            if line and not line.isspace():
                place = f"{self.name}:{number}"
                text = _json_text(line, text_field, place)
                if text is not None:
                    yield Document(place, text)
                elif skipped is not None:
                    skipped["null"] += 1


# Raw control characters inside a string are accepted; cleaning removes and counts them.
_parse = json.JSONDecoder(strict=False).decode


def json_object(line: str, place: str) -> dict[str, Any]:
    """The object that a line of a `.jsonl` file holds.

    Raises:
      UserError: it holds something else.
    """
    try:
        fields = _parse(line)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{place}: not JSON: {error.msg} at column {error.colno}; a .jsonl file has one object per line"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 10,000 nested brackets
        raise UserError(f"{place}: JSON that cannot be read: {error}; remove the line") from error
    if not isinstance(fields, dict):
        raise UserError(f"{place}: holds {type(fields).__name__}, must be an object with named fields")
    return fields


def _json_text(line: str, field: str, place: str) -> str | None:
    fields = json_object(line, place)
    if field not in fields:
        raise UserError(
            f"{place}: the object has no field {field!r} (config.data.text_field); it has: {', '.join(fields) or 'none'}"
        )
    text = fields[field]
    if text is not None and not isinstance(text, str):
        raise UserError(
            f"{place}: the field {field!r} holds {type(text).__name__}, must be text; set config.data.text_field"
        )
    return text  # cleaning replaces and counts half surrogate pairs, which an escape can make


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValuesBlock(RawBlock):
    """Values of the text column of a table; None for a null, or for one that is too long."""

    name: str
    first: int  # row of the first value, from 0
    values: tuple[bytes | None, ...]

    def documents(self, text_field: str, *, skipped: Counter[str] | None = None) -> Iterator[Document]:
        for row, value in enumerate(self.values, self.first):
            if value is None:
                continue
            place = f"{self.name}:{row}"
            try:
                yield Document(place, str(value, "utf-8"))
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{place}: byte 0x{value[error.start]:02x} at offset {error.start} of the field {text_field!r}"
                    " is not UTF-8; set config.data.text_field to a field with text"
                ) from error
