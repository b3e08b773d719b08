"""What `bert-jax predict` prints: a JSON object for each text, in order, a few computed at a time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bert_jax.config.head import Pooling
from bert_jax.errors import UserError
from bert_jax.prediction.answer import AnswerOptions, answer
from bert_jax.prediction.batches import WINDOW
from bert_jax.prediction.inputs import Row, Task


class Options(NamedTuple):
    """What a prediction can be asked for."""

    top_k: int = 3
    """fill-mask: candidates of a mask"""
    pooling: Pooling | None = None
    """embed, similarity: a text's vector; None: as the model has it"""
    n_best: int = 0
    """answer: spans that are given beside the answer"""
    answer: AnswerOptions = AnswerOptions()


def predictions(
    model: Any, task: Task, rows: Iterable[Row], options: Options = Options()
) -> Iterator[dict[str, Any]]:
    """An object for each row, in order; rows are read as they are needed.

    Args:
      model: a `bert_jax.Model`.

    Raises:
      UserError: a text that the model cannot take, or a model without the head.
    """
    objects, at_once = _TASKS[task]
    rest = iter(rows)
    while chunk := list(itertools.islice(rest, at_once)):
        yield from objects(model, chunk, options)


def _filled(model: Any, rows: Sequence[Row], options: Options) -> Iterator[dict[str, Any]]:
    for row in rows:
        masks = model.fill_mask(row.text, top_k=options.top_k)
        yield {
            "text": row.text,
            "masks": [[{"token": p.token, "probability": p.probability} for p in mask] for mask in masks],
        }


def _embedded(model: Any, rows: Sequence[Row], options: Options) -> Iterator[dict[str, Any]]:
    vectors_ND = model.embed([row.text for row in rows], pooling=options.pooling)
    for row, vector_D in zip(rows, vectors_ND, strict=True):
        yield {"text": row.text, "vector": vector_D.tolist()}


def _compared(model: Any, rows: Sequence[Row], options: Options) -> Iterator[dict[str, Any]]:
    pairs = []
    for row in rows:
        if row.text_pair is None:
            raise UserError(f"{row.text!r} has no partner to compare it with: a tab must separate the two")
        pairs.append(row.text_pair)
    cosines_N = model.similarity([row.text for row in rows], pairs, pooling=options.pooling)
    for row, cosine in zip(rows, cosines_N.tolist(), strict=True):
        yield {**_inputs(row), "similarity": cosine}


def _classified(model: Any, rows: Sequence[Row], options: Options) -> Iterator[dict[str, Any]]:
    """Singles and pairs may alternate: neighbours of one sort are classified together."""
    for is_pair, group in itertools.groupby(rows, key=lambda row: row.text_pair is not None):
        part = list(group)
        pairs = [row.text_pair or "" for row in part] if is_pair else None
        for row, found in zip(part, model.classify([row.text for row in part], pairs), strict=True):
            yield {**_inputs(row), "label": found.label, "probabilities": found.probabilities}


def _words_tagged(model: Any, rows: Sequence[Row], options: Options) -> Iterator[dict[str, Any]]:
    yield from map(dataclasses.asdict, model.tag([row.words or row.text for row in rows]))


def _answered(model: Any, rows: Sequence[Row], options: Options) -> Iterator[dict[str, Any]]:
    for row in rows:
        if row.text_pair is None:
            raise UserError(f"{row.text!r} must be a question and its context with a tab between")
    questions, contexts = [row.text for row in rows], [row.text_pair or "" for row in rows]
    wanted = options.answer._replace(n_best=max(options.answer.n_best, options.n_best))
    for row, found in zip(rows, answer(model, questions, contexts, wanted), strict=True):
        values: dict[str, Any] = {"id": row.id} if row.id else {}
        values |= {"question": row.text, "answer": found.text}
        values |= {"start": found.start, "end": found.end, "score": found.score}
        values |= {"probability": found.probability, "no_answer": found.no_answer}
        if options.n_best:
            values["n_best"] = [span._asdict() for span in found.candidates[: options.n_best]]
        yield values


def _inputs(row: Row) -> dict[str, str]:
    return {"text": row.text} | ({} if row.text_pair is None else {"text_pair": row.text_pair})


_TASKS: Mapping[Task, tuple[Callable[[Any, Sequence[Row], Options], Iterator[dict[str, Any]]], int]] = {
    "fill-mask": (_filled, 1),
    "embed": (_embedded, WINDOW),
    "classify": (_classified, WINDOW),
    "tag": (_words_tagged, 256),
    "similarity": (_compared, WINDOW // 2),
    "answer": (_answered, 64),
}
"""Each with how many rows are computed at once."""
