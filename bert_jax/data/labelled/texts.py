"""Examples of texts and pairs as features: token ids, and the class, labels or number of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Literal

import numpy as np

from bert_jax.data.labelled.examples import TextExample
from bert_jax.data.labelled.features import Features
from bert_jax.errors import UserError
from bert_jax.progress import bar
from bert_jax.text.tokenizer import Tokenizer

Target = Literal["classification", "multilabel", "regression"]

_AT_ONCE = 4096  # examples tokenised together
_MOST_LABELS = 20  # of which a message names some


def found_labels(examples: Iterable[TextExample]) -> tuple[str, ...]:
    """The labels of a data set in order: numbers by value, otherwise by name."""
    labels = set(chain.from_iterable(_labels(example) for example in examples))
    if all(label.lstrip("-").isdecimal() for label in labels):
        return tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def text_features(
    examples: Sequence[TextExample],
    tokenizer: Tokenizer,
    *,
    target: Target,
    labels: Sequence[str],
    max_length: int,
    types: int,
) -> Features:
    """Features with labels_P (int32), labels_PC (float32 0 or 1) or targets_P (float32).

    types: segment types that the model tells apart.

    Raises:
      UserError: a label that is not one of `labels`, with its place.
    """
    ids: list[np.ndarray] = []
    type_ids: list[np.ndarray] = []
    cut = 0
    has_pairs = bool(examples) and examples[0].text_pair is not None
    firsts = range(0, len(examples), _AT_ONCE)
    for first in bar(firsts, description="tokenising", unit="batches", delay=1.0):
        part = examples[first : first + _AT_ONCE]
        pairs = [example.text_pair or "" for example in part] if has_pairs else None
        for encoding in tokenizer.encode_texts([e.text for e in part], pairs, max_length=max_length):
            ids.append(np.array(encoding.ids, np.int32))
            type_ids.append(np.array(encoding.type_ids, np.uint8))
            cut += bool(encoding.overflowing)
    return Features(
        tokens_T=np.concatenate(ids),
        type_ids_T=np.minimum(np.concatenate(type_ids), max(types - 1, 0)),
        lengths_S=np.array([len(row) for row in ids], np.int32),
        examples_S=np.arange(len(examples), dtype=np.int32),
        of_sequences=_targets(examples, target, labels),
        cut=cut,
    )


def _targets(examples: Sequence[TextExample], target: Target, labels: Sequence[str]) -> dict[str, np.ndarray]:
    if target == "regression":
        return {"targets_P": np.array([example.label for example in examples], np.float32)}
    number = {label: i for i, label in enumerate(labels)}
    for example in examples:
        unknown = [label for label in _labels(example) if label not in number]
        if unknown:
            shown = ", ".join(labels[:_MOST_LABELS]) + (", ..." if len(labels) > _MOST_LABELS else "")
            raise UserError(
                f"{example.place}: label {unknown[0]!r} must be one of the task's labels: {shown}"
            )
    if target == "classification":
        return {"labels_P": np.array([number[str(example.label)] for example in examples], np.int32)}
    has_PC = np.zeros((len(examples), len(labels)), np.float32)
    for row, example in enumerate(examples):
        has_PC[row, [number[label] for label in _labels(example)]] = 1
    return {"labels_PC": has_PC}


def _labels(example: TextExample) -> tuple[str, ...]:
    return example.label if isinstance(example.label, tuple) else (str(example.label),)
