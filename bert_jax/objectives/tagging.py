"""The loss of a head that reads tokens: cross-entropy of the tag of each word."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.objectives.sums import Objective, Sums, classification, forward_of


def tag_sums(logits_BLC: jax.Array, batch: Mapping[str, Any]) -> Sums:
    """`token_loss` (nats per word) and `token_accuracy` over the words with a tag, at the first token of each.

    The weight is their number: tags_BL is -1 at other tokens.
    """
    tags_BL = batch["tags_BL"]
    weights_BL = (tags_BL >= 0).astype(jnp.float32)
    return classification("token", logits_BLC, jnp.maximum(tags_BL, 0), weights_BL)


def tagging_objective(apply: Callable[..., Any]) -> Objective:
    """The loss of `tag_sums`; predictions are tags_BL (int32; -1: scores that are not finite) and words_BL.

    `apply` is the bound `BertWithHeads(config).apply` of a model with a tagging head.
    """

    def predictions(output: Any, batch: Any) -> dict[str, jax.Array]:
        logits_BLC = output.token_logits_BLC
        is_finite_BL = jnp.isfinite(logits_BLC).all(axis=-1)
        tags_BL = jnp.argmax(logits_BLC, axis=-1).astype(jnp.int32)
        return {"tags_BL": jnp.where(is_finite_BL, tags_BL, -1), "words_BL": batch["words_BL"]}

    return Objective(
        forward=forward_of(apply),
        sums=lambda output, batch: tag_sums(output.token_logits_BLC, batch),
        weights=lambda batch: {"token_loss": jnp.sum(batch["tags_BL"] >= 0).astype(jnp.float32)},
        terms={"token_loss": 1.0},
        predictions=predictions,
    )
