"""Replaced-token detection's loss (Clark et al. 2020, section 3.1): the generator's MLM and, weighted, the
discriminator's question to every token: is it the text's?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.objectives.mlm import mlm_sums
from bert_jax.objectives.sums import Objective, Sums


def asked(batch) -> jax.Array:
    """1 for the tokens that count, float32 [B, L]: all but padding, [CLS] and [SEP] too as in ELECTRA's code.

    Rows without a prediction fill up the last batch of an evaluation: none of theirs.
    """
    in_use_B = jnp.any(batch["mlm_weights_BM"] > 0, axis=1)
    return ((batch["pack_ids_BL"] > 0) & in_use_B[:, None]).astype(jnp.float32)


def rtd_sums(rtd_logits_BL: jax.Array, replaced_BL: jax.Array, batch) -> Sums:
    """`rtd_loss` (sigmoid cross-entropy, nats a token), `rtd_accuracy`, `rtd_recall` (share of the replaced
    tokens that are found) and `replaced` (share of the tokens that are)."""
    logits_BL, asked_BL = rtd_logits_BL.astype(jnp.float32), asked(batch)
    is_replaced_BL = replaced_BL.astype(jnp.float32)
    # -log sigmoid(x) of a replaced token, -log sigmoid(-x) of an original one, whatever the size of x.
    loss_BL = jax.nn.softplus(logits_BL) - logits_BL * is_replaced_BL
    hit_BL = ((logits_BL > 0) == replaced_BL).astype(jnp.float32)
    tokens, replaced = jnp.sum(asked_BL), jnp.sum(is_replaced_BL * asked_BL)
    return {
        "rtd_loss": (jnp.sum(loss_BL * asked_BL), tokens),
        "rtd_accuracy": (jnp.sum(hit_BL * asked_BL), tokens),
        "rtd_recall": (jnp.sum(hit_BL * is_replaced_BL * asked_BL), replaced),
        "replaced": (replaced, tokens),
    }


def replaced_token_detection(forward: Callable[..., Any], *, weight: float) -> Objective:
    """MLM of the generator + `weight` x RTD of the discriminator (eq. 3).

    `forward` is `bert_jax.models.electra.forward` of a configuration.
    """

    def sums(output, batch) -> Sums:
        found = rtd_sums(output.rtd_logits_BL, output.replaced_BL, batch)
        return {**mlm_sums(output.mlm_logits_BMV, batch), **found}

    def weights(batch) -> dict[str, jax.Array]:
        return {"mlm_loss": jnp.sum(batch["mlm_weights_BM"]), "rtd_loss": jnp.sum(asked(batch))}

    return Objective(forward=forward, sums=sums, weights=weights, terms={"mlm_loss": 1.0, "rtd_loss": weight})
