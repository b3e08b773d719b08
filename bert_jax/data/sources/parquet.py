"""A Parquet file, or its text column, a few rows at a time."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from bert_jax.data.sources import streams
from bert_jax.data.sources.cutting import ValueGroup, group_values
from bert_jax.errors import UserError

_ROWS = 1024  # read at once, at most; fewer where they are long
_READ_BYTES = 1 << 20


def column_groups(
    name: str, raw: BinaryIO, field: str, *, block_bytes: int, limit: int
) -> Iterator[tuple[ValueGroup, int]]:
    """The values of the column `field` in groups, each with the number of rows of the file.

    Args:
      name: the file's, for messages. raw: its bytes.
      block_bytes, limit: see `group_values`.

    Raises:
      UserError: a damaged file, or a column that is missing or holds no text.
    """
    with opened(name, raw) as table:
        _check_column(name, table.schema, table.columns, field)
        values = _column_values(table, field, batch_bytes=block_bytes)
        for group in group_values(values, block_bytes=block_bytes, limit=limit):
            yield group, table.count


@contextlib.contextmanager
def _unpacked(name: str, raw: BinaryIO) -> Iterator[BinaryIO]:
    """Parquet is read from its end, so a compressed file is unpacked to a temporary one first."""
    if name.endswith(".parquet"):
        yield raw
        return
    with tempfile.TemporaryFile() as copy:
        with streams.decompressed(name, raw) as stream:
            _copy(name, stream, copy)
        copy.seek(0)
        yield copy


def _copy(name: str, stream: BinaryIO, copy: Any) -> None:
    while True:
        try:
            data = stream.read(_READ_BYTES)
        except streams.READ_FAULTS as error:
            raise streams.read_fault(name, error, lines=0) from error
        if not data:
            return
        try:
            copy.write(data)
        except OSError as error:
            folder = tempfile.gettempdir()
            free = shutil.disk_usage(folder).free
            raise UserError(
                f"{name} cannot be unpacked in {folder}, which has {free} bytes free: {error.strerror or error};"
                " make room there, or set the environment variable TMPDIR"
            ) from error


@contextlib.contextmanager
def opened(name: str, raw: BinaryIO) -> Iterator[ParquetTable]:
    """The table of a file, for as long as `raw` is open; a compressed one is unpacked first.

    Args:
      name: the file's, for messages. raw: its bytes.

    Raises:
      UserError: a damaged file.
    """
    with _unpacked(name, raw) as seekable:
        yield ParquetTable(name, seekable)


class ParquetTable:
    """Without read-ahead and with a buffer, it is read page by page."""

    def __init__(self, name: str, raw: BinaryIO):
        import pyarrow.parquet as pq

        self._name = name
        self._done = 0
        with self._faults():
            self._file = pq.ParquetFile(raw, pre_buffer=False, buffer_size=_READ_BYTES)
            self.schema = self._file.schema_arrow
            self.columns: tuple[str, ...] = tuple(self.schema.names)
            self.metadata = self._file.metadata
            self.count = self.metadata.num_rows

    def rows(self, columns: list[str]) -> Iterator[dict[str, Any]]:
        """Each row as Python values, of these columns alone."""
        for values in self.batches(columns, lambda batch: batch.to_pylist(), rows=_ROWS):
            yield from values

    def batches(
        self, columns: list[str], values_of: Callable[[Any], list[Any]], *, rows: int
    ) -> Iterator[list[Any]]:
        """What `values_of` makes of each `pyarrow.RecordBatch` of at most `rows` rows."""
        with self._faults():
            batches = self._file.iter_batches(batch_size=rows, columns=columns, use_threads=False)
        while True:
            with self._faults():
                batch = next(batches, None)
                values = None if batch is None else values_of(batch)
            if batch is None or values is None:
                return
            yield values
            self._done += batch.num_rows

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{self._name}: cannot be read as Parquet after row {self._done} ({reason}); copy or write the"
                " file again"
            ) from error


def _column_values(table: ParquetTable, field: str, *, batch_bytes: int) -> Iterator[bytes | None]:
    """Every value of a text column in order."""
    import pyarrow as pa

    def values_of(batch: Any) -> list[bytes | None]:
        column = batch.column(0)
        if isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
            column = column.cast(pa.large_binary())
        return column.to_pylist()

    rows = _rows_together(table.metadata, batch_bytes)
    for values in table.batches([field], values_of, rows=rows):
        yield from values


def _check_column(name: str, schema: Any, columns: tuple[str, ...], field: str) -> None:
    import pyarrow as pa

    if field not in columns:
        raise UserError(
            f"{name}: there is no column {field!r} (config.data.text_field); it has: {', '.join(columns)}"
        )
    kind = schema.field(columns.index(field)).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = (
        pa.types.is_null(kind)  # a column without a value
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )
    if not is_text:
        raise UserError(
            f"{name}: the column {field!r} holds {kind}, must be text; set config.data.text_field"
        )


def _rows_together(metadata: Any, batch_bytes: int) -> int:
    """How many rows have `batch_bytes` together, judged by the row group with the longest ones.

    Of all columns: pyarrow ends the process where the description of one column is damaged.
    """
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    longest = max(
        (group.total_byte_size / group.num_rows for group in groups if group.num_rows > 0), default=1
    )
    return max(1, min(_ROWS, int(batch_bytes / max(1, longest))))
