"""What `bert-jax predict` reads: lines of text, or the rows of a table, one at a time, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from bert_jax.data.labelled.open import Columns

Task = Literal["fill-mask", "embed", "classify", "tag", "answer", "similarity"]
OF_PAIRS: tuple[Task, ...] = ("classify", "answer", "similarity")
"""The tasks that take two texts, classify if the model does."""

_TABLES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")
_SENTENCES = (".conll", ".conllu")


class Row(NamedTuple):
    """One input, as a line or a table has it."""

    text: str
    text_pair: str | None = None
    words: tuple[str, ...] | None = None
    """of a sentence that comes in words"""
    id: str = ""
    """of a question that has one"""


def is_table(path: Path) -> bool:
    """Whether a file holds rows with columns, by its ending; another holds a text a line."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((*_TABLES, *_SENTENCES))


def rows_of_lines(lines: Iterable[str], task: Task) -> Iterator[Row]:
    """A row for each text; of a task on pairs a tab separates the two."""
    for line in lines:
        text, tab, pair = line.partition("\t") if task in OF_PAIRS else (line, "", "")
        yield Row(text, pair if tab else None)


def rows_of_file(path: Path, task: Task, columns: Columns) -> Iterator[Row]:
    """The rows of a table, read as they are needed.

    Columns that are not named are found by their usual names; of `answer` they are "question" and "context", or those of
    SQuAD's JSON, of `tag` a list of words or a text. A TSV or CSV file of one or two columns without such names has no
    header.

    Raises:
      UserError: no such file or column, or a value that is no text.
    """
    from bert_jax.data.labelled.examples import TextExample
    from bert_jax.data.labelled.open import stream_questions, stream_texts, stream_words

    if task == "answer":
        for question in stream_questions(str(path), columns=columns):
            yield Row(question.question, question.context, id=question.id)
    elif task == "tag":
        for sentence in stream_words(str(path), columns=columns):
            if isinstance(sentence, TextExample):
                yield Row(sentence.text)
            else:
                yield Row(" ".join(sentence.words), words=sentence.words)
    else:
        pair = None if task in OF_PAIRS else False
        for text in stream_texts(str(path), columns=columns, pair=pair):
            yield Row(text.text, text.text_pair)
