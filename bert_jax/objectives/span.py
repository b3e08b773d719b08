"""The loss of a head that finds the first and the last token of an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.objectives.sums import Objective, Sums, classification, forward_of

_MASKED = -1e30
"""The logit of a token of another window: far below any, and finite, so that empty slots give no NaN."""


def span_sums(token_logits_BL2: jax.Array, batch: Mapping[str, Any]) -> Sums:
    """`start_loss`, `start_accuracy`, `end_loss` and `end_accuracy` as (sum, weight) pairs; the weight is the number of
    windows, the losses are in nats.

    Each window's first and last token are classes of a softmax over its own tokens, [CLS] for no answer among them
    (Devlin et al. 2019, sections 4.2 and 4.3). Computed in float32.
    """
    is_own_BPL = own_tokens(batch)
    sums: dict[str, Any] = {}
    for place, name in enumerate(("start", "end")):
        logits_B1L = token_logits_BL2[:, None, :, place].astype(jnp.float32)
        logits_BPL = jnp.where(is_own_BPL, logits_B1L, _MASKED)
        sums |= classification(name, logits_BPL, batch[f"{name}s_BP"], batch["weights_BP"])
    return sums


def own_tokens(batch: Mapping[str, Any]) -> jax.Array:
    """Which tokens of a row each window holds, bool [B, P, L]."""
    slots_P = jnp.arange(1, batch["first_BP"].shape[1] + 1, dtype=batch["pack_ids_BL"].dtype)
    own_BPL: jax.Array = batch["pack_ids_BL"][:, None] == slots_P[None, :, None]
    return own_BPL


def span_objective(apply: Callable[..., Any]) -> Objective:
    """The mean over windows of half the cross-entropy of the first token and half that of the last.

    Predictions are the logits of all tokens, and where each window begins in its row.

    `apply` is the bound `BertWithHeads(config).apply` of a model with a head of kind "span".
    """

    def sums(output: Any, batch: Any) -> Sums:
        return span_sums(output.token_logits_BLC, batch)

    def weights(batch: Any) -> dict[str, jax.Array]:
        windows = jnp.sum(batch["weights_BP"])
        return {"start_loss": windows, "end_loss": windows}

    def predictions(output: Any, batch: Any) -> dict[str, jax.Array]:
        return {
            "token_logits_BLC": output.token_logits_BLC,
            "first_BP": batch["first_BP"],
            "features_BP": batch["features_BP"],
        }

    return Objective(
        forward=forward_of(apply),
        sums=sums,
        weights=weights,
        terms={"start_loss": 0.5, "end_loss": 0.5},
        predictions=predictions,
    )
