"""Which columns of a table hold the texts, the words and the labels: as named, or by their usual names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from bert_jax.data.labelled.tables import Table
from bert_jax.errors import UserError

# In order of preference. `question` is the text and `sentence` its pair where there are both, as in QNLI.
TEXT = ("sentence", "text", "sentence1", "premise", "question1", "question", "review", "content")
PAIR = ("sentence2", "hypothesis", "question2", "text_pair", "text2")
LABEL = (
    "label", "labels", "score", "stars", "category", "class", "target", "similarity_score", "gold_label",
    "is_duplicate",
)  # fmt: skip
WORDS = ("tokens", "words")
TAGS = ("tags", "ner_tags", "ner", "upos", "pos_tags", "pos", "labels")
USUAL = frozenset((*TEXT, *PAIR, *LABEL))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
    """Each the name of a column, or its number from 1, or in JSON the path "a.b" of a field inside an object; empty:
    found by the usual names (above), whatever their case."""

    text: str = ""
    text_pair: str = ""
    label: str = ""

    @property
    def given(self) -> tuple[str, ...]:
        return tuple(column for column in (self.text, self.text_pair, self.label) if column)


@dataclasses.dataclass(frozen=True)
class Choice:
    """Columns of one table."""

    text: str
    pair: str | None
    label: str | None

    @property
    def all(self) -> list[str]:
        return [column for column in (self.text, self.pair, self.label) if column is not None]


def choose_texts(table: Table, columns: Columns, *, pair: bool | None, labelled: bool) -> Choice:
    """The columns of a text or a pair, and of its label.

    Args:
      pair: True: there must be a second text; False: none is read; None: it is read if it is there.

    Raises:
      UserError: a column is missing; lists those there are.
    """
    usual = _Usual(table)
    is_qnli = (
        not columns.text and pair is not False and usual.first(("question",)) and usual.first(("sentence",))
    )
    text = _pick(table, columns.text, ("question",) if is_qnli else TEXT, "text")
    second: str | None = None
    if columns.text_pair:
        if pair is False:
            raise UserError(
                f"{table.name}: the column {columns.text_pair!r} of second texts is named, but pair=False"
            )
        second = table.column(columns.text_pair)
    elif pair is not False:
        names = ("sentence",) if text.lower() == "question" and usual.first(("sentence",)) else PAIR
        second = _pick(table, "", names, "text_pair") if pair else usual.first(names)
    label = _pick(table, columns.label, LABEL, "label") if labelled else None
    return Choice(text, second, label)


def choose_words(table: Table, columns: Columns, *, labelled: bool) -> Choice:
    """The columns that hold lists of words and of tags.

    Raises:
      UserError: a column is missing; lists those there are.
    """
    label = _pick(table, columns.label, TAGS, "label") if labelled else None
    return Choice(_pick(table, columns.text, WORDS, "text"), None, label)


def has_words(table: Table, columns: Columns) -> bool:
    """Whether a table has a column of lists of words: of a usual name, or in JSON or Parquet as named."""
    return not columns.text and _Usual(table).first(WORDS) is not None


class _Usual:
    def __init__(self, table: Table):
        self._columns = {column.lower(): column for column in reversed(table.columns)}

    def first(self, names: Iterable[str]) -> str | None:
        return next((self._columns[name] for name in names if name in self._columns), None)


def _pick(table: Table, given: str, names: tuple[str, ...], field: str) -> str:
    if given:
        return table.column(given)
    if found := _Usual(table).first(names):
        return found
    if table.columns[:1] == ("1",):
        raise UserError(
            f"{table.name}: the first line is no header with usual names (such as {', '.join(names[:3])}); name the"
            f" column of {field!r} by its number, from 1 to {len(table.columns)}"
        )
    raise UserError(
        f"{table.name}: no column has a usual name for {field!r} ({', '.join(names)}); name one of those it has:"
        f" {', '.join(table.columns)}"
    )
