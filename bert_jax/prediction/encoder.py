"""What a prediction needs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import jax

from bert_jax.config import ModelConfig
from bert_jax.config.head import Pooling
from bert_jax.models.bert import Output
from bert_jax.text.tokenizer import Tokenizer


class Encoder(Protocol):
    """A model with its tokenizer, as `bert_jax.Model` is one."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def compute(
        self, ids: Sequence[Sequence[int]], type_ids: Sequence[Sequence[int]] | None = None
    ) -> Output:
        """The outputs for sequences of token ids, each a row, padded to one length."""
        ...

    def vectors(self, ids: Sequence[Sequence[int]], *, pooling: Pooling) -> jax.Array:
        """A vector for each of these sequences, float32 [B, D]; may still be computing when it returns."""
        ...
