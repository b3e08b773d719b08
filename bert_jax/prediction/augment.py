"""Data augmentation of TinyBERT (Jiao et al. 2020, section 3.2 and algorithm 1): copies of a text in which some words are
replaced by what a masked language model proposes.

A draw is a function of (seed, number of the row, which of its texts, number of the copy, number of the word) alone.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bert_jax import atomic
from bert_jax.errors import UserError
from bert_jax.progress import bar

if TYPE_CHECKING:
    from bert_jax.data.labelled.open import Columns
    from bert_jax.data.labelled.tables import Record, Table
    from bert_jax.prediction.substitutes import Substitutes

_ROWS = 256  # whose masked forms are sorted by length together


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """The defaults are those of TinyBERT's released code for small sets. Raises `UserError` for a value out of range."""

    copies: int = 30
    """N, of each text at most: 30 (CoLA, MRPC, RTE, STS-B), 20 (QNLI, SST-2), 10 (MNLI, QQP)"""
    probability: float = 0.4
    """p, with which a word of a copy is replaced"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise UserError(f"copies={self.copies} must be >= 1")
        if not 0 < self.probability <= 1:
            raise UserError(f"probability={self.probability} must be in (0, 1]")
        if self.seed < 0:
            raise UserError(f"seed={self.seed} must be >= 0")


class Word(NamedTuple):
    """A word of a text, `text[start:end]`, that can be replaced."""

    start: int
    end: int
    substitutes: tuple[str, ...]
    """never empty"""


def copies(
    text: str, words: Sequence[Word], options: AugmentOptions, *, row: int, part: int = 0
) -> list[str]:
    """Different copies of a text, none equal to it, at most `options.copies`; [] where no word can be replaced.

    Everything but the replaced words stays as it is, character by character.

    Args:
      part: which text of the row it is.
    """
    from bert_jax.data.random import Purpose, below, fold, root, uniform

    key_1 = fold(fold(root(options.seed), row), part)
    key_CW = fold(fold(key_1, np.arange(options.copies))[:, None], np.arange(len(words)))
    counts_W = np.array([len(word.substitutes) for word in words], np.int64)
    is_replaced_CW = uniform(key_CW, Purpose.REPLACE) < options.probability
    chosen_CW = below(key_CW, Purpose.CANDIDATE, counts_W)
    found = dict.fromkeys(
        _replaced(text, words, is_replaced_W, chosen_W)
        for is_replaced_W, chosen_W in zip(is_replaced_CW.tolist(), chosen_CW.tolist(), strict=True)
    )
    found.pop(text, None)
    return list(found)


def _replaced(text: str, words: Sequence[Word], is_replaced: Sequence[bool], chosen: Sequence[int]) -> str:
    parts, done = [], 0
    for word in itertools.compress(zip(words, chosen, strict=True), is_replaced):
        (start, end, substitutes), number = word
        parts += [text[done:start], substitutes[number]]
        done = end
    return "".join([*parts, text[done:]])


def augment_file(
    substitutes: Substitutes,
    source: str,
    output: Path,
    *,
    columns: Columns,
    options: AugmentOptions = AugmentOptions(),
) -> tuple[int, int]:
    """Writes each row of a file and after it its copies, with all other columns as they are.

    Of a pair each text is augmented while the other stays: first the copies of the text, then those of its partner.
    (In TinyBERT's released code the text stays replaced by its last copy while its partner is augmented.)

    Args:
      source: a TSV, CSV or JSON Lines file, as `bert_jax.data.labelled.open` reads it.
      output: of the same format, by its ending; appears when it is whole.
      columns: of the texts; those that are not named are found by their usual names.

    Returns: rows read, rows written.

    Raises:
      UserError: no such file or column, a damaged row, another format of the output, or a file that cannot be written.
    """
    from bert_jax.data.labelled.columns import choose_texts
    from bert_jax.data.labelled.writing import header, line

    table, format_name = _opened(source, output, columns)
    choice = choose_texts(table, columns, pair=None, labelled=False)
    texts = [choice.text] if choice.pair is None else [choice.text, choice.pair]
    read = written = 0
    records = iter(bar(table.records(texts), description="augmenting", unit=" rows", delay=2.0))
    try:
        with atomic.binary_stream(output) as stream:
            stream.write(header(table, format_name))
            while block := list(itertools.islice(records, _ROWS)):
                for fields in _augmented(substitutes, block, texts, options, first=read):
                    stream.write(line(fields, format_name))
                    written += 1
                read += len(block)
    except OSError as error:
        raise UserError(
            f"{output}: cannot be written ({error.strerror or error}): name another file"
        ) from error
    return read, written


def _augmented(
    substitutes: Substitutes,
    records: Sequence[Record],
    columns: Sequence[str],
    options: AugmentOptions,
    *,
    first: int,
) -> Iterator[Mapping[str, Any]]:
    """The fields of each record, then those of its copies. first: the number of the first record."""
    from bert_jax.data.labelled.values import text_of
    from bert_jax.data.labelled.writing import with_value

    texts = [text_of(r.value(column), r.place, column) or "" for r in records for column in columns]
    words = substitutes.of_texts(texts)
    for number, record in enumerate(records):
        yield record.fields
        for part, column in enumerate(columns):
            at = number * len(columns) + part
            for copy in copies(texts[at], words[at], options, row=first + number, part=part):
                yield with_value(record.fields, column, copy)


def _opened(source: str, output: Path, columns: Columns) -> tuple[Table, str]:
    """The table and its format."""
    from bert_jax.data.labelled import files, tables, writing
    from bert_jax.data.labelled.columns import USUAL

    found = files.find(source, formats=writing.FORMATS)
    if len(found) > 1:
        raise UserError(f"{source!r} names {len(found)} files, must be one: augment each by itself")
    [file] = found
    if output.suffix.lower() != f".{file.format}":
        raise UserError(
            f"{output}: the ending must be .{file.format}, the format of {file.path}, which is kept"
        )
    if output.exists() and output.samefile(file.path):
        raise UserError(f"{output}: must be another file than the one that is read")
    return tables.open_table(file, named=columns.given, usual=USUAL), file.format
