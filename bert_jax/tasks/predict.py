"""What a model says of texts, as the JSON objects that `bert-jax predict` prints."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

Task = Literal["fill-mask", "embed", "classify"]

_AT_ONCE = 64  # texts that are computed together


def predictions(model: Any, task: Task, texts: Iterable[str], *, top_k: int = 3) -> Iterator[dict[str, Any]]:
    """An object for each text, in order; texts are read as they are needed.

    Args:
      model: a `bert_jax.Model`.
      top_k: fill-mask: candidates of a mask.

    Raises:
      UserError: a text that the model cannot take, or a model without the head.
    """
    if task == "fill-mask":
        for text in texts:
            masks = model.fill_mask(text, top_k=top_k)
            yield {
                "text": text,
                "masks": [[{"token": p.token, "probability": p.probability} for p in mask] for mask in masks],
            }
        return
    objects = _classified if task == "classify" else _embedded
    rest = iter(texts)
    while chunk := list(itertools.islice(rest, _AT_ONCE)):
        yield from objects(model, chunk)


def _embedded(model: Any, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    for text, vector in zip(texts, model.embed(texts), strict=True):
        yield {"text": text, "vector": vector.tolist()}


def _classified(model: Any, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Singles and pairs may alternate: neighbours of one sort are classified together."""
    for is_pair, group in itertools.groupby(texts, key=lambda text: "\t" in text):
        rows = [text.split("\t", 1) for text in group]
        pairs = [row[1] for row in rows] if is_pair else None
        for row, found in zip(rows, model.classify([row[0] for row in rows], pairs), strict=True):
            pair = {"text_pair": row[1]} if is_pair else {}
            yield {"text": row[0], **pair, "label": found.label, "probabilities": found.probabilities}
