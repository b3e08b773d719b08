"""Rows of a table, changed and written as the table's own format has them: they read back with the same columns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from bert_jax.data.labelled.tables import Table

FORMATS = ("tsv", "csv", "jsonl")
"""Those that can be written."""


def with_value(fields: Mapping[str, Any], column: str, value: str) -> dict[str, Any]:
    """The fields with another value in a column, or at a path such as "a.b" inside nested objects."""
    if column in fields:
        return {**fields, column: value}
    outer, _, inner = column.partition(".")
    return {**fields, outer: with_value(fields[outer], inner, value)}


def header(table: Table, format_name: str) -> bytes:
    """The line that names the columns; b"" where the format or the table has none."""
    if format_name == "jsonl" or not table.has_names:
        return b""
    return _LINES[format_name](table.columns).encode()


def line(fields: Mapping[str, Any], format_name: str) -> bytes:
    """A row. Fields of TSV and CSV are in the order of the source."""
    if format_name == "jsonl":
        text = json.dumps(dict(fields), ensure_ascii=False) + "\n"
        return text.encode("utf-8", "backslashreplace")  # half a surrogate pair, which JSON can only escape
    return _LINES[format_name](fields.values()).encode()


def _tsv(cells: Iterable[str]) -> str:
    return "\t".join(cells) + "\n"


def _csv(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # so that a field with either character is quoted
    return text.getvalue().removesuffix("\r\n") + "\n"


_LINES = {"tsv": _tsv, "csv": _csv}
