"""Replaced-token detection's loss (Clark et al. 2020, section 3.1): the generator's MLM and, weighted, the
discriminator's binary classification of every token: original or replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.batch import Batch
from bert_jax.objectives.mlm import mlm_sums, mlm_terms, mlm_weights
from bert_jax.objectives.sums import Objective, Sums
from bert_jax.objectives.tokens import real_tokens


def rtd_sums(rtd_logits_BL: jax.Array, replaced_BL: jax.Array, batch: Batch) -> Sums:
    """Over all tokens but padding, as in ELECTRA's code: `rtd_loss` (sigmoid cross-entropy, nats per token), `rtd_accuracy`, `rtd_recall` (share of the replaced
    tokens that are found) and `replaced` (share of the tokens that are)."""
    logits_BL, counted_BL = rtd_logits_BL.astype(jnp.float32), real_tokens(batch)
    is_replaced_BL = replaced_BL.astype(jnp.float32)
    # -log sigmoid(x) of a replaced token, -log sigmoid(-x) of an original one, whatever the size of x.
    loss_BL = jax.nn.softplus(logits_BL) - logits_BL * is_replaced_BL
    hit_BL = ((logits_BL > 0) == replaced_BL).astype(jnp.float32)
    tokens, replaced = jnp.sum(counted_BL), jnp.sum(is_replaced_BL * counted_BL)
    return {
        "rtd_loss": (jnp.sum(loss_BL * counted_BL), tokens),
        "rtd_accuracy": (jnp.sum(hit_BL * counted_BL), tokens),
        "rtd_recall": (jnp.sum(hit_BL * is_replaced_BL * counted_BL), replaced),
        "replaced": (replaced, tokens),
    }


def replaced_token_detection(forward: Callable[..., Any], *, weight: float, z_loss: float = 0.0) -> Objective:
    """MLM of the generator + `weight` x RTD of the discriminator (eq. 3).

    Args:
      forward: `bert_jax.models.electra.forward` of a configuration: (params, batch, dropout_key) -> output.
      z_loss: its scale, of the generator's logits; 0: none.
    """
    with_z = z_loss > 0

    def run(params: Any, constants: Any, batch: Batch, dropout_key: jax.Array | None) -> Any:
        return forward(params, batch, dropout_key)

    def sums(output: Any, batch: Batch) -> Sums:
        found = rtd_sums(output.rtd_logits_BL, output.replaced_BL, batch)
        return {**mlm_sums(output.mlm_logits_BMV, batch, with_z=with_z), **found}

    def weights(batch: Batch) -> dict[str, jax.Array]:
        return {**mlm_weights(batch, with_z=with_z), "rtd_loss": jnp.sum(real_tokens(batch))}

    terms = {**mlm_terms(z_loss), "rtd_loss": weight}
    return Objective(forward=run, sums=sums, weights=weights, terms=terms)
