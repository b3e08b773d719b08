"""Losses of a head that reads texts: cross-entropy of classes or of labels, squared error of a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from bert_jax.objectives.sums import Objective, Sums, classification, forward_of

_LOSS = {"classification": "class_loss", "multilabel": "label_loss", "regression": "mse"}


def text_sums(logits_BPC: jax.Array, batch: Mapping[str, Any], *, kind: str) -> Sums:
    """The (sum, weight) pairs of a batch's texts; the weight is their number.

    classification: `class_loss` (nats per text) and `class_accuracy`. multilabel: `label_loss`, the mean binary
    cross-entropy of a text's labels, in nats. regression: `mse`, squared difference.
    """
    weights_BP = batch["weights_BP"]
    if kind == "classification":
        return classification("class", logits_BPC, batch["labels_BP"], weights_BP)
    if kind == "multilabel":
        x_BPC = logits_BPC.astype(jnp.float32)
        loss_BP = jnp.mean(jax.nn.softplus(x_BPC) - x_BPC * batch["labels_BPC"], axis=-1)
    else:
        loss_BP = jnp.square(logits_BPC[..., 0].astype(jnp.float32) - batch["targets_BP"])
    return {_LOSS[kind]: (jnp.sum(loss_BP * weights_BP), jnp.sum(weights_BP))}


def text_objective(
    apply: Callable[..., Any], *, kind: Literal["classification", "multilabel", "regression"]
) -> Objective:
    """The loss of `text_sums`; predictions are the logits and the numbers of their sequences.

    `apply` is the bound `BertWithHeads(config).apply` of a model with a head of this kind.
    """

    def sums(output: Any, batch: Any) -> Sums:
        return text_sums(output.class_logits_BPC, batch, kind=kind)

    def predictions(output: Any, batch: Any) -> dict[str, jax.Array]:
        return {"logits_BPC": output.class_logits_BPC, "features_BP": batch["features_BP"]}

    return Objective(
        forward=forward_of(apply),
        sums=sums,
        weights=lambda batch: {_LOSS[kind]: jnp.sum(batch["weights_BP"])},
        terms={_LOSS[kind]: 1.0},
        predictions=predictions,
    )
