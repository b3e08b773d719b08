"""Labelled data sets, as an entry names them.

| entry | what is read |
|---|---|
| `tfds:NAME[/CONFIG]:SPLIT` | a TFDS dataset, such as `tfds:glue/sst2:train`, `tfds:conll2003:test`, `tfds:squad:train[:10%]` |
| `installed_docs:package:train`, `installed_docs:package:eval` | texts with classes that need no download: which installed package a paragraph of documentation comes from |
| `PATH`, also a glob; `.gz` may follow | files of the formats below, by their ending |
| `FORMAT:PATH` | the same where the ending does not tell, such as `conll:emerging.test.annotated` |

| format | holds | its form |
|---|---|---|
| `tsv` | texts | a quote is text, as in GLUE's files. The first line is a header if a column is named, or if it has a usual name; else columns are numbers. |
| `csv` | texts | RFC 4180: quoted fields may have commas and line ends. The first line is a header unless all columns are numbers. |
| `jsonl`, `json` | texts, tags, questions | an object per line; a list of objects. A field inside an object is "a.b". |
| `parquet` | texts, tags, questions | columns by name |
| `conll` (`.conll`, `.txt`) | tags | a word and its tag in the first and the last column (or by number), parted by tabs or spaces; an empty line between sentences; `-DOCSTART-` lines are left out |
| `conllu` | tags | CoNLL-U: FORM and UPOS, or other columns by name or number; ranges (1-2) and empty nodes (1.1) are left out |
| `squad` (`.json`) | questions | SQuAD 1.1 and 2.0: data[].paragraphs[].qas[] |

Columns that are not named are found by their usual names: see columns.py. Text is UTF-8.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from bert_jax.data.labelled import conll, files, installed_docs, squad, tables
from bert_jax.data.labelled.columns import USUAL, Choice, Columns, choose_texts, choose_words, has_words
from bert_jax.data.labelled.examples import (
    Answer,
    Examples,
    QuestionExample,
    Skipped,
    TaggedExample,
    TextExample,
    collect,
)
from bert_jax.data.labelled.files import File
from bert_jax.data.labelled.tables import Table
from bert_jax.data.labelled.tfds import open_tfds
from bert_jax.data.labelled.values import class_of, classes_of, number_of, text_of, words_of
from bert_jax.data.sources.entries import is_tfds
from bert_jax.errors import UserError

__all__ = [
    "Answer",
    "Columns",
    "Examples",
    "LabelKind",
    "QuestionExample",
    "TaggedExample",
    "TextExample",
    "read_questions",
    "read_tags",
    "read_texts",
    "stream_questions",
    "stream_texts",
    "stream_words",
]

LabelKind = Literal["class", "classes", "number"]

_TABLES = ("tsv", "csv", "jsonl", "json", "parquet")
_OBJECTS = ("jsonl", "json", "parquet")
_LABELS: Mapping[LabelKind, Callable[[Any, str, str], str | tuple[str, ...] | float | None]] = {
    "class": class_of,
    "classes": classes_of,
    "number": number_of,
}


def read_texts(
    entry: str,
    *,
    columns: Columns = Columns(),
    pair: bool | None = None,
    label: LabelKind,
    labelled: bool = True,
    least: float | None = None,
    keep_empty: bool = True,
    limit: int = 0,
    tfds_dir: str = "",
) -> Examples[TextExample]:
    """Texts, or pairs of texts, with labels.

    With labels wanted, an example is passed over and counted if a text is empty ("empty text") or its label is missing
    ("no label": null, empty, or -1 of a TFDS class); without, every example is kept, an empty text as "".

    Args:
      entry: see the table above.
      pair: True: there must be a second text; False: none is read; None: it is read if it is there.
      label: class: one name an example (numbers and booleans become text); classes: a list of names, or a text that
        separates them by "|" or commas, which may be empty; number: a finite number.
      labelled: False: labels are not read, and none need be there.
      least: of numbers: examples with a smaller one are passed over and counted.
      keep_empty: False: examples with an empty text are passed over without labels too.
      limit: the first so many examples; 0: all.
      tfds_dir: where TFDS keeps datasets; empty: its own default.

    Raises:
      UserError: with the place: no such file, column or dataset, text that is not UTF-8, lines of another length than
        the header, a label of another kind, or no example at all.
    """
    if installed_docs.is_entry(entry):
        if label != "class" or columns.given or pair:
            raise UserError(
                f"{entry}: holds single texts of one class each, in no columns; correct the task's options"
            )
        paragraphs, classes = installed_docs.read(entry)
        found = (e if labelled else dataclasses.replace(e, label=None) for e in paragraphs)
        return collect(found, entry=entry, limit=limit, labels=classes)
    chosen = [
        (source, choose_texts(source, columns, pair=pair, labelled=labelled))
        for source in _sources(entry, _TABLES, columns, tfds_dir)
        if isinstance(source, Table)
    ]
    examples: Iterator[TextExample | Skipped] = chain.from_iterable(
        _texts(table, choice, label, keep_empty=keep_empty and not labelled) for table, choice in chosen
    )
    if least is not None:
        examples = (_at_least(least, example) for example in examples)
    return collect(examples, entry=entry, limit=limit, labels=_declared(*chosen[0]))


def read_tags(
    entry: str, *, columns: Columns = Columns(), labelled: bool = True, limit: int = 0, tfds_dir: str = ""
) -> Examples[TaggedExample]:
    """Sentences as words with one tag each. Arguments as in `read_texts`: `columns.text` holds words, `columns.label`
    tags; a sentence without words is passed over and counted ("no words") where tags are wanted.

    Raises:
      UserError: as `read_texts`; or lines that differ in their number of columns, or words and tags in number.
    """
    if columns.text_pair:
        raise UserError(f"{entry}: tagged words have no second text; remove the column {columns.text_pair!r}")
    parts: list[Iterator[TaggedExample | Skipped]] = []
    labels: tuple[str, ...] = ()
    for source in _sources(entry, ("conll", "conllu", *_OBJECTS), columns, tfds_dir):
        if isinstance(source, Table):
            choice = choose_words(source, columns, labelled=labelled)
            parts.append(_tags(source, choice))
            labels = _declared(source, choice)
        else:
            parts.append(conll.read(source, word=columns.text, tag=columns.label, labelled=labelled))
    return collect(chain.from_iterable(parts), entry=entry, limit=limit, labels=labels)


def read_questions(
    entry: str, *, labelled: bool = True, limit: int = 0, tfds_dir: str = "", keep_unmatched: bool = False
) -> Examples[QuestionExample]:
    """Questions whose answers are spans of a context. Other arguments as in `read_texts`.

    An answer that does not stand where the source says is taken where it stands nearest to there. With
    `keep_unmatched` False, as for training, an answer that its context does not hold is dropped, and a question whose
    answers are all dropped is passed over and counted ("answer not in its context"). With True, as for evaluation,
    where the text of each answer counts, such an answer is kept with start -1.

    Raises:
      UserError: as `read_texts`; or an id that occurs twice.
    """

    def read(source: Table | File) -> Iterator[QuestionExample | Skipped]:
        if isinstance(source, Table):
            return squad.of_table(source, labelled=labelled, keep_unmatched=keep_unmatched)
        return squad.of_file(source, labelled=labelled, keep_unmatched=keep_unmatched)

    sources = _sources(entry, ("squad", *_OBJECTS), Columns(), tfds_dir)
    found = squad.with_unique_ids(chain.from_iterable(map(read, sources)))
    return collect(found, entry=entry, limit=limit)


def stream_texts(
    entry: str, *, columns: Columns = Columns(), pair: bool | None = None
) -> Iterator[TextExample]:
    """Texts or pairs without labels, read as they are needed; arguments and errors as in `read_texts`.

    A TSV or CSV file of one or two columns, none of them named, may do without a header.
    """
    for source in _sources(entry, _TABLES, columns, ""):
        assert isinstance(source, Table), "every format of _TABLES is one"
        chosen = columns
        if source.columns in (("1",), ("1", "2")) and not columns.given:
            chosen = Columns(
                text="1", text_pair="2" if len(source.columns) == 2 and pair is not False else ""
            )
        choice = choose_texts(source, chosen, pair=pair, labelled=False)
        for found in _texts(source, choice, "class", keep_empty=True):
            assert isinstance(found, TextExample), "unlabelled texts are never passed over"
            yield found


def stream_words(entry: str, *, columns: Columns = Columns()) -> Iterator[TaggedExample | TextExample]:
    """Sentences as words without tags, or the texts of a table without a list of words, read as they are needed."""
    for source in _sources(entry, ("conll", "conllu", *_TABLES), columns, ""):
        if isinstance(source, File):
            found = conll.read(source, word=columns.text, tag="", labelled=False)
            yield from (sentence for sentence in found if isinstance(sentence, TaggedExample))
        elif has_words(source, columns):
            for sentence in _tags(source, choose_words(source, columns, labelled=False)):
                assert isinstance(sentence, TaggedExample), "unlabelled sentences are never passed over"
                yield sentence
        else:
            yield from stream_texts(entry, columns=columns, pair=False)
            return


def stream_questions(entry: str, *, columns: Columns = Columns()) -> Iterator[QuestionExample]:
    """Questions with their contexts, without answers: SQuAD's JSON, or a table with columns "question" and "context" or
    as named by `columns` (text, text_pair), read as they are needed."""
    for source in _sources(entry, ("squad", *_TABLES), columns, ""):
        if isinstance(source, File):
            found = squad.of_file(source, labelled=False, keep_unmatched=False)
            yield from (question for question in found if isinstance(question, QuestionExample))
            continue
        names = {name.lower(): name for name in source.columns}
        question = source.column(columns.text or names.get("question", "1" if "1" in names else "question"))
        context = source.column(columns.text_pair or names.get("context", "2" if "2" in names else "context"))
        for number, record in enumerate(source.records([question, context])):
            asked, read = (
                text_of(record.value(name), record.place, name) or "" for name in (question, context)
            )
            given = record.fields.get("id")
            identifier = str(number if given is None else given)
            yield QuestionExample(identifier, asked, read, None, record.place)


def _sources(entry: str, formats: tuple[str, ...], columns: Columns, tfds_dir: str) -> Sequence[Table | File]:
    """What the entry names; files that are no tables are not opened."""
    if is_tfds(entry):
        return [open_tfds(entry, data_dir=tfds_dir)]
    found = files.find(entry, formats=formats)
    if "squad" in formats:  # SQuAD's own files end in .json, as lists of questions do
        found = [dataclasses.replace(f, format="squad") if tables.is_one_object(f) else f for f in found]
    return [
        tables.open_table(file, named=columns.given, usual=USUAL) if file.format in _TABLES else file
        for file in found
    ]


def _declared(table: Table, choice: Choice) -> tuple[str, ...]:
    return table.labels.get(choice.label or "", ())


def _texts(
    table: Table, choice: Choice, kind: LabelKind, *, keep_empty: bool
) -> Iterator[TextExample | Skipped]:
    for record in table.records(choice.all):
        place = record.place
        text = text_of(record.value(choice.text), place, choice.text) or ""
        pair = None
        if choice.pair is not None:
            pair = text_of(record.value(choice.pair), place, choice.pair) or ""
        if not keep_empty and (not text.strip() or (pair is not None and not pair.strip())):
            yield Skipped("empty text")
            continue
        if choice.label is None:
            yield TextExample(text, pair, None, place)
            continue
        label = _LABELS[kind](record.value(choice.label), place, choice.label)
        yield Skipped("no label") if label is None else TextExample(text, pair, label, place)


def _at_least(least: float, example: TextExample | Skipped) -> TextExample | Skipped:
    is_less = isinstance(example, TextExample) and isinstance(example.label, float) and example.label < least
    return Skipped(f"a number below {least:g}") if is_less else example


def _tags(table: Table, choice: Choice) -> Iterator[TaggedExample | Skipped]:
    for record in table.records(choice.all):
        words = words_of(record.value(choice.text), record.place, choice.text)
        if choice.label is None:
            yield TaggedExample(words, None, record.place)
            continue
        tags = words_of(record.value(choice.label), record.place, choice.label)
        if len(words) != len(tags):
            raise UserError(
                f"{record.place}: {len(words)} words in {choice.text!r} but {len(tags)} tags in {choice.label!r}; correct"
                " the example"
            )
        yield TaggedExample(words, tags, record.place) if words else Skipped("no words")
