"""Labelled examples as a source has them: text and label names, before tokens and label numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from bert_jax.errors import UserError
from bert_jax.progress import bar


@dataclasses.dataclass(frozen=True, slots=True)
class TextExample:
    """One text or a pair of texts."""

    text: str
    text_pair: str | None
    label: str | tuple[str, ...] | float | None
    """A class name; label names, in the source's order, each once; a number; None: not known."""
    place: str
    """For messages, such as "train.tsv:17"."""


@dataclasses.dataclass(frozen=True, slots=True)
class TaggedExample:
    """A sentence as words, with as many tags."""

    words: tuple[str, ...]
    tags: tuple[str, ...] | None
    """None: not known."""
    place: str


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    text: str
    start: int
    """Characters of the context before the answer: `context[start:].startswith(text)`. -1: the context does not hold
    the text (only with `keep_unmatched` of `read_questions`)."""


@dataclasses.dataclass(frozen=True, slots=True)
class QuestionExample:
    id: str
    question: str
    context: str
    answers: tuple[Answer, ...] | None
    """In the source's order. (): the context holds no answer (SQuAD 2.0); None: not known."""
    place: str


@dataclasses.dataclass(frozen=True, slots=True)
class Skipped:
    """An example that is passed over and counted."""

    reason: str


E = TypeVar("E", TextExample, TaggedExample, QuestionExample)


@dataclasses.dataclass(frozen=True)
class Examples(Generic[E]):
    examples: tuple[E, ...]
    digest: str
    """SHA-256 (hex) of what was read: texts, labels and their order, so of what columns and a cap chose; not of places.
    The same content has the same digest, whatever file or dataset it is read from."""
    labels: tuple[str, ...]
    """The names that the source itself declares, in order (a TFDS ClassLabel, the classes of installed_docs:package);
    () otherwise."""
    skipped: Mapping[str, int]
    """Reason -> count of the examples that were passed over, such as {"empty text": 3}."""


def collect(
    found: Iterable[E | Skipped], *, entry: str, limit: int, labels: tuple[str, ...] = ()
) -> Examples[E]:
    """Keeps the first `limit` examples (0: all) and reads no further.

    Raises:
      UserError: there is no example.
    """
    kept: list[E] = []
    skipped: Counter[str] = Counter()
    for one in bar(found, description=f"reading {entry}", total=limit or None, unit=" examples", delay=2.0):
        if isinstance(one, Skipped):
            skipped[one.reason] += 1
            continue
        kept.append(one)
        if len(kept) == limit:
            break
    if not kept:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in sorted(skipped.items()))
        raise UserError(
            f"{entry}: all {skipped.total()} examples are passed over: {reasons}; name a source that has text and labels"
            if skipped
            else f"{entry}: holds no example; name a source that has some"
        )
    return Examples(tuple(kept), _digest(kept, labels), labels, dict(sorted(skipped.items())))


def _digest(examples: list[E], labels: tuple[str, ...]) -> str:
    kind = type(examples[0])
    names = [field.name for field in dataclasses.fields(kind) if field.name != "place"]
    digest = hashlib.sha256(json.dumps([kind.__name__, labels]).encode())
    for example in examples:
        values = [getattr(example, name) for name in names]
        digest.update(json.dumps(values, default=dataclasses.astuple).encode() + b"\n")
    return digest.hexdigest()
