"""What a fine-tuned model gives: the task head on top of the encoder, as data."""

from __future__ import annotations

import dataclasses
from typing import Literal

from bert_jax.config.options import option

HeadKind = Literal["none", "classification", "multilabel", "regression", "tagging", "span", "embedding"]
"""classification: one class of each text or pair; multilabel: any number of labels; regression: a number; tagging: a
class of each word; span: first and last token of an answer; embedding: a vector, without parameters of its own."""

OF_TEXTS: tuple[HeadKind, ...] = ("classification", "multilabel", "regression")
"""The kinds that read one state of each text: [CLS], through the pooler or a dense layer."""


Pooling = Literal["cls", "mean"]
"""The vector of a text: the state of [CLS], or the mean of all tokens'."""


Hidden = Literal["pooler", "tanh", "gelu", "relu", "transform"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """A task head. Its parameters are task_head/..., next to the encoder's."""

    kind: HeadKind = option("none", "what the head gives; none: there is no task head")
    labels: tuple[str, ...] = option((), "names of the classes in the order of their ids")
    hidden: Hidden = option(
        "pooler",
        "what a text's state passes before the output layer: the pooler (BERT, ALBERT, DeBERTa), or a dense layer of the"
        " head with this activation (RoBERTa tanh, ELECTRA gelu, DistilBERT relu); transform: dense layer, activation and"
        " norm as in the MLM head, from which they begin, for tokens too (ModernBERT)",
    )
    pooling: Pooling = option(
        "cls", "of a text without pooler: the state of [CLS], or the mean of all tokens'"
    )
    dropout_rate: float = option(0.1, "dropout before each dense layer of the head", ge=0, lt=1)

    @property
    def outputs(self) -> int:
        """C, columns of the output layer; 0: there is none."""
        if self.kind in ("none", "embedding"):
            return 0
        return {"regression": 1, "span": 2}.get(self.kind, len(self.labels))

    @property
    def has_dense(self) -> bool:
        """Whether there is a dense layer of the head before the output layer."""
        return self.outputs > 0 and (
            self.hidden == "transform" or (self.kind in OF_TEXTS and self.hidden != "pooler")
        )
