"""The class, labels or number of a text, or of a pair of texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bert_jax.config.head import OF_TEXTS, HeadConfig
from bert_jax.errors import UserError
from bert_jax.prediction.batches import by_length
from bert_jax.prediction.encoder import Encoder


@dataclasses.dataclass(frozen=True)
class Classification:
    """What a task head says of a text."""

    label: str | tuple[str, ...] | float
    """the most probable class; of several labels those with a probability above a half; of a regression the number"""
    probabilities: dict[str, float]
    """of each class or label; empty of a regression"""


def classify(
    model: Encoder, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> list[Classification]:
    """The class, labels or number of each text, or of each text and its partner. Long texts are cut.

    Raises:
      UserError: the model has no head that reads texts.
    """
    head = model.config.head
    if head.kind not in OF_TEXTS:
        raise UserError(
            f"the model's task head is {head.kind!r}, must be one of {', '.join(OF_TEXTS)} to classify a text:"
            " bert-jax finetune trains one"
        )
    encodings = model.tokenizer.encode_texts(texts, pairs, max_length=model.config.max_positions)
    logits_NC = np.empty((len(encodings), head.outputs))
    for places in by_length([len(encoding.ids) for encoding in encodings]):
        part = [encodings[place] for place in places]
        output = model.compute([one.ids for one in part], [one.type_ids for one in part])
        if output.class_logits_BPC is None:
            raise UserError("the model has no pooler (or no parameters of a head), which its task head reads")
        logits_NC[places] = output.class_logits_BPC[:, 0]
    return [_classification(head, logits_C) for logits_C in logits_NC]


def _classification(head: HeadConfig, logits_C: np.ndarray) -> Classification:
    if head.kind == "regression":
        return Classification(float(logits_C[0]), {})
    if head.kind == "multilabel":
        each = dict(zip(head.labels, (1 / (1 + np.exp(-logits_C))).tolist(), strict=True))
        return Classification(tuple(label for label, p in each.items() if p > 0.5), each)
    exponentials_C = np.exp(logits_C - logits_C.max())
    each = dict(zip(head.labels, (exponentials_C / exponentials_C.sum()).tolist(), strict=True))
    return Classification(max(each, key=each.__getitem__), each)
