"""Tables of examples: TSV, CSV, JSON lines, a JSON list, Parquet. Each gives its columns first, then row after row of
only those that are wanted."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from bert_jax.data.labelled import files
from bert_jax.data.labelled.files import File
from bert_jax.data.sources import parquet
from bert_jax.data.sources.blocks import json_object
from bert_jax.errors import UserError

_MOST_BYTES = 1 << 30
"""Of JSON that is read as a whole; SQuAD has 40 MB."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One row of a table."""

    place: str
    fields: Mapping[str, Any]

    def value(self, column: str) -> Any:
        """The value of a column, or of a path such as "a.b" inside nested objects.

        Raises:
          UserError: there is no such field.
        """
        if column in self.fields:
            return self.fields[column]
        value: Any = self.fields
        for name in column.split("."):
            if not isinstance(value, Mapping) or name not in value:
                raise UserError(
                    f"{self.place}: there is no field {column!r}; it has: {', '.join(self.fields) or 'none'}"
                )
            value = value[name]
        return value


@dataclasses.dataclass(frozen=True)
class Table:
    """`columns` are in the order of the source; where it has no names they are "1", "2" and so on."""

    name: str
    columns: tuple[str, ...]
    records: Callable[[Collection[str]], Iterator[Record]]
    """Reads the table once; the fields have at least the columns of the argument."""
    labels: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """Column -> the label names that the source declares for it, in order."""
    has_names: bool = True
    """False: the source has no header."""

    def column(self, wanted: str) -> str:
        """The column of this name, number (from 1) or path ("a.b").

        Raises:
          UserError: there is none; lists those there are.
        """
        if wanted in self.columns or wanted.partition(".")[0] in self.columns:
            return wanted
        if wanted.isdecimal():
            if 1 <= int(wanted) <= len(self.columns):
                return self.columns[int(wanted) - 1]
            raise UserError(f"{self.name}: there is no column {wanted}; it has {len(self.columns)} columns")
        raise UserError(f"{self.name}: there is no column {wanted!r}; it has: {', '.join(self.columns)}")


def open_table(file: File, *, named: tuple[str, ...], usual: Collection[str]) -> Table:
    """Opens a file of one of the formats tsv, csv, jsonl, json and parquet.

    Args:
      named: the columns that are asked for by name or number.
      usual: names that mark the first line of a TSV or CSV file as a header, in lower case.

    Raises:
      UserError: the file is empty or damaged.
    """
    match file.format:
        case "tsv" | "csv":
            return _delimited(file, named, usual)
        case "jsonl":
            return _json_lines(file)
        case "json":
            return _json(file)
        case _:
            return _parquet(file)


# ---------------------------------------------------------------------------------------------
# TSV and CSV
# ---------------------------------------------------------------------------------------------


def _delimited(file: File, named: tuple[str, ...], usual: Collection[str]) -> Table:
    split = _csv if file.format == "csv" else _tsv
    first = next(split(file), None)
    if first is None:
        raise UserError(f"{file.name}: the file is empty; name one with examples")
    cells = [cell.strip() for cell in first[1]]
    has_header = (
        any(not name.isdecimal() for name in named)
        or any(cell.lower() in usual for cell in cells)
        or (file.format == "csv" and not named)
    )
    if has_header:
        if len(set(cells)) < len(cells):
            twice = next(cell for cell in cells if cells.count(cell) > 1)
            raise UserError(
                f"{file.name}:{first[0]}: the header has {twice!r} twice; rename one of the columns"
            )
        return Table(file.name, tuple(cells), lambda wanted: _with_header(file, split(file), cells))
    columns = tuple(str(number) for number in range(1, len(cells) + 1))
    return Table(
        file.name, columns, lambda wanted: _without_header(file, split(file), wanted), has_names=False
    )


_Lines = Iterator[tuple[int, list[str]]]  # (number of the first line, fields)


def _tsv(file: File) -> _Lines:
    """A quote is text, as in GLUE's files. Empty lines are left out."""
    for number, line in files.lines(file):
        if line := files.without_end(line):
            yield number, line.split("\t")


def _csv(file: File) -> _Lines:
    """Quotes of RFC 4180; a quoted field may have several lines. Empty lines are left out."""
    reader = csv.reader((line for _, line in files.lines(file)), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{file.name}:{number}: not CSV ({error}); a field with a quote, comma or line end stands in quotes, its"
                " quotes doubled"
            ) from error
        if fields is None:
            return
        if fields:
            yield number, fields


def _with_header(file: File, rows: _Lines, header: list[str]) -> Iterator[Record]:
    next(rows)
    for number, fields in rows:
        if len(fields) != len(header):
            raise UserError(
                f"{file.name}:{number}: {len(fields)} fields, must be {len(header)} as in the header; correct the line"
            )
        yield Record(f"{file.name}:{number}", dict(zip(header, fields, strict=True)))


def _without_header(file: File, rows: _Lines, wanted: Collection[str]) -> Iterator[Record]:
    """Further fields are allowed: some rows of STS-B name the owner of the text in two more."""
    least = max(int(column) for column in wanted)
    for number, fields in rows:
        if len(fields) < least:
            raise UserError(
                f"{file.name}:{number}: {len(fields)} fields, must be at least {least}; correct the line or the number"
                " of the column"
            )
        yield Record(f"{file.name}:{number}", {str(n): field for n, field in enumerate(fields, 1)})


# ---------------------------------------------------------------------------------------------
# JSON
# ---------------------------------------------------------------------------------------------


def _json_lines(file: File) -> Table:
    first = next(_objects(file), None)
    if first is None:
        raise UserError(f"{file.name}: the file is empty; name one with examples")
    return Table(file.name, tuple(first.fields), lambda wanted: _objects(file))


def _objects(file: File) -> Iterator[Record]:
    """Lines of white space are left out."""
    for number, line in files.lines(file):
        if not line.isspace():
            place = f"{file.name}:{number}"
            yield Record(place, json_object(files.without_end(line), place))


def _json(file: File) -> Table:
    """A list of objects, which is read whole; a file that does not begin with a bracket is one of JSON lines."""
    if _first_character(file) != "[":
        return _json_lines(file)
    items = load_json(file)
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise UserError(f"{file.name}[{number}]: holds {type(item).__name__}, must be an object")
    if not items:
        raise UserError(f"{file.name}: the list is empty; name a file with examples")
    rows = [Record(f"{file.name}[{number}]", item) for number, item in enumerate(items)]
    return Table(file.name, tuple(items[0]), lambda wanted: iter(rows))


def is_one_object(file: File) -> bool:
    """Whether a file of the format json holds an object, so that it is no list."""
    return file.format == "json" and _first_character(file) == "{"


def _first_character(file: File) -> str:
    """The first that is not white space; "": there is none."""
    return files.beginning(file)[:1]


def load_json(file: File) -> Any:
    """The whole file, parsed.

    Raises:
      UserError: it is not JSON, or too long.
    """
    text = files.text(file, most=_MOST_BYTES)
    try:
        return json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{file.name}:{error.lineno}: not JSON: {error.msg} at column {error.colno}; write the file again"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 10,000 nested brackets
        raise UserError(f"{file.name}: JSON that cannot be read: {error}; write the file again") from error


# ---------------------------------------------------------------------------------------------
# Parquet
# ---------------------------------------------------------------------------------------------


def _parquet(file: File) -> Table:
    with files.opened(file) as raw, parquet.opened(file.path, raw) as table:
        columns = table.columns
    return Table(file.name, columns, lambda wanted: _parquet_rows(file, wanted))


def _parquet_rows(file: File, wanted: Collection[str]) -> Iterator[Record]:
    with files.opened(file) as raw, parquet.opened(file.path, raw) as table:
        columns = {name if name in table.columns else name.partition(".")[0] for name in wanted}
        for number, fields in enumerate(table.rows(sorted(columns))):
            yield Record(f"{file.name}:{number}", fields)
