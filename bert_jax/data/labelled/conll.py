"""Sentences of CoNLL columns and of CoNLL-U: one word a line, an empty line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bert_jax.data.labelled import files
from bert_jax.data.labelled.examples import Skipped, TaggedExample
from bert_jax.data.labelled.files import File
from bert_jax.errors import UserError

_CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
_NOT_A_WORD = re.compile(r"\d+[-.]\d+")  # a range of words that are written as one (1-2), an empty node (1.1)
_SPACES = re.compile(" +")


def read(file: File, *, word: str, tag: str, labelled: bool) -> Iterator[TaggedExample | Skipped]:
    """The sentences of a file in the format conll or conllu.

    Args:
      word, tag: columns, from 1, or in CoNLL-U by name; empty: the first and the last, in CoNLL-U FORM and UPOS.
      labelled: False: tags are not read.

    Raises:
      UserError: a column that does not exist, or lines that differ in their number of columns.
    """
    words: list[str] = []
    tags: list[str] = []
    first = 0  # line of the sentence
    word_column = tag_column = width = 0
    for number, line in files.lines(file):
        line = files.without_end(line)
        if not line.strip():
            if words:
                yield _example(file, words, tags, labelled=labelled, line=first)
                words, tags = [], []
            continue
        if line.startswith("#") if file.format == "conllu" else line.startswith("-DOCSTART-"):
            continue
        fields = _fields(line, file.format)
        if not width:
            width = len(_CONLLU) if file.format == "conllu" else len(fields)
            word_column, tag_column = _columns(file, word, tag, width=width, labelled=labelled)
        if len(fields) != width:
            expected = "CoNLL-U's" if file.format == "conllu" else "as in the first line"
            raise UserError(
                f"{file.name}:{number}: {len(fields)} columns, must be {width}, {expected}; correct the line"
            )
        if file.format == "conllu" and _NOT_A_WORD.fullmatch(fields[0]):
            continue
        if not words:
            first = number
        words.append(fields[word_column])
        tags.append(fields[tag_column])
    if words:
        yield _example(file, words, tags, labelled=labelled, line=first)


def _example(file: File, words: list[str], tags: list[str], *, labelled: bool, line: int) -> TaggedExample:
    return TaggedExample(tuple(words), tuple(tags) if labelled else None, f"{file.name}:{line}")


def _fields(line: str, kind: str) -> list[str]:
    """Parted by tabs where the line has one, else by spaces; other white space belongs to a word."""
    if kind == "conllu" or "\t" in line:
        return line.split("\t")
    return _SPACES.split(line.strip(" "))


def _columns(file: File, word: str, tag: str, *, width: int, labelled: bool) -> tuple[int, int]:
    """(of the word, of the tag), from 0."""
    names = _CONLLU if file.format == "conllu" else ()
    word_column = _number(file, word or ("form" if names else "1"), names, width)
    if not labelled:
        return word_column, word_column
    tag_column = _number(file, tag or ("upos" if names else str(width)), names, width)
    if word_column == tag_column:
        raise UserError(
            f"{file.name}: words and tags are both column {word_column + 1} of {width}; a line must have a word and its"
            " tag"
        )
    return word_column, tag_column


def _number(file: File, column: str, names: tuple[str, ...], width: int) -> int:
    if column.lower() in names:
        return names.index(column.lower())
    if not column.isdecimal():
        known = f"one of {', '.join(names)}, or a number" if names else "a number"
        raise UserError(f"{file.name}: the column {column!r} must be {known} from 1 to {width}")
    if not 1 <= int(column) <= width:
        raise UserError(f"{file.name}: there is no column {column}; it has {width} columns")
    return int(column) - 1
