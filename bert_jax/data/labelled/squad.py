"""Questions with answers that are spans of a context: SQuAD's JSON (1.1 and 2.0) and tables of questions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bert_jax.data.labelled.examples import Answer, QuestionExample, Skipped
from bert_jax.data.labelled.files import File
from bert_jax.data.labelled.tables import Record, Table, load_json
from bert_jax.data.labelled.values import class_of, text_of
from bert_jax.errors import UserError

Found = Iterator[QuestionExample | Skipped]


def of_file(file: File, *, labelled: bool, keep_unmatched: bool) -> Found:
    """The questions of a file in SQuAD's JSON, which is read whole: data[].paragraphs[].qas[].

    Raises:
      UserError: another structure, with its place.
    """
    for record, impossible in _squad_records(file):
        yield _question(record, impossible=impossible, labelled=labelled, keep_unmatched=keep_unmatched)


def of_table(table: Table, *, labelled: bool, keep_unmatched: bool) -> Found:
    """The questions of a table with the columns id, question, context and answers, an object of lists `text` and
    `answer_start` or a list of such objects; a column is_impossible may say that there is none.

    Raises:
      UserError: there is no such column, with those there are.
    """
    wanted = ["id", "question", "context", *(["answers"] if labelled else [])]
    for column in wanted:
        table.column(column)
    may_be_impossible = labelled and "is_impossible" in table.columns
    wanted += ["is_impossible"] if may_be_impossible else []
    for record in table.records(wanted):
        impossible = may_be_impossible and bool(record.value("is_impossible"))
        yield _question(record, impossible=impossible, labelled=labelled, keep_unmatched=keep_unmatched)


def with_unique_ids(found: Found) -> Found:
    """Raises:
    UserError: an id occurs twice, so that predictions and answers could not be matched.
    """
    places: dict[str, str] = {}
    for example in found:
        if isinstance(example, QuestionExample):
            if example.id in places:
                raise UserError(
                    f"{example.place}: the id {example.id!r} is also that of {places[example.id]}; ids must differ"
                )
            places[example.id] = example.place
        yield example


def _squad_records(file: File) -> Iterator[tuple[Record, bool]]:
    """(a question with its context, whether the file says that it has no answer)."""
    root = load_json(file)
    for number, article in enumerate(_list(root, "data", file.name)):
        place = f"{file.name}: data[{number}]"
        for index, paragraph in enumerate(_list(article, "paragraphs", place)):
            inner = f"{place}.paragraphs[{index}]"
            for position, question in enumerate(_list(paragraph, "qas", inner)):
                if not isinstance(question, Mapping):
                    raise UserError(
                        f"{inner}.qas[{position}] must be an object; it is {type(question).__name__}"
                    )
                fields = {**question, "context": paragraph.get("context")}
                yield Record(f"{inner}.qas[{position}]", fields), bool(question.get("is_impossible"))


def _list(value: Any, name: str, place: str) -> list[Any]:
    inner = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(inner, list):
        raise UserError(
            f"{place}: must be an object with a list {name!r}, as SQuAD's files have data[].paragraphs[].qas[]"
        )
    return inner


def _question(
    record: Record, *, impossible: bool, labelled: bool, keep_unmatched: bool
) -> QuestionExample | Skipped:
    place = record.place
    identifier = class_of(record.value("id"), place, "id")
    if identifier is None:
        raise UserError(f"{place}: the id is empty; each question must have one")
    question, context = (text_of(record.value(name), place, name) or "" for name in ("question", "context"))
    if not labelled:
        return QuestionExample(identifier, question, context, None, place)
    if not question.strip() or not context.strip():
        return Skipped("empty text")
    given = [] if impossible else list(_answers(record.value("answers"), place))
    located = [Answer(text, _locate(context, text, start)) for text, start in given]
    kept = tuple(located if keep_unmatched else (answer for answer in located if answer.start >= 0))
    if given and not kept:
        return Skipped("answer not in its context")
    return QuestionExample(identifier, question, context, kept, place)


def _answers(value: Any, place: str) -> Iterable[tuple[str, int]]:
    """(text, where the source says it starts) of each answer."""
    texts: Any = None
    starts: Any = None
    if isinstance(value, list) and all(isinstance(answer, Mapping) for answer in value):
        texts, starts = ([answer.get(name) for answer in value] for name in ("text", "answer_start"))
    elif isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise UserError(
            f"{place}: answers must be an object of two lists of one length, text and answer_start, or a list of objects"
            " that have both"
        )
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(start, int) or isinstance(start, bool):
            raise UserError(f"{place}: answer_start={start!r} must be a number of characters from 0")
        yield text_of(text, place, "answers.text") or "", start


def _locate(context: str, text: str, start: int) -> int:
    """Where the answer stands in the context, nearest to `start`; -1: nowhere."""
    if not text.strip():
        return -1
    before = context.rfind(text, 0, max(0, start) + len(text))
    after = context.find(text, max(0, start))
    found = [position for position in (before, after) if position >= 0]
    return min(found, key=lambda position: abs(position - start), default=-1)
