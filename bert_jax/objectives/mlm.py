"""Masked language modelling (Devlin et al. 2019, section 3.1, task 1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bert_jax.batch import Batch
from bert_jax.objectives.sums import Sums, classification, z_loss


def mlm_sums(mlm_logits_BMV: jax.Array, batch: Batch, *, with_z: bool = False) -> Sums:
    """`mlm_loss` (nats per predicted token) and `mlm_accuracy` over the masked slots in use; with_z: `z_loss` too."""
    weights_BM = batch["mlm_weights_BM"]
    found = classification("mlm", mlm_logits_BMV, batch["mlm_targets_BM"], weights_BM)
    return {**found, **z_loss(mlm_logits_BMV, weights_BM)} if with_z else found


def mlm_weights(batch: Batch, *, with_z: bool = False) -> dict[str, jax.Array]:
    """The weight of each loss of `mlm_sums`: the masked slots in use."""
    return dict.fromkeys(
        ("mlm_loss", "z_loss") if with_z else ("mlm_loss",), jnp.sum(batch["mlm_weights_BM"])
    )


def mlm_terms(z_scale: float) -> dict[str, float]:
    """The losses of `mlm_sums`, each with its scale; z_scale: 0: without z-loss."""
    return {"mlm_loss": 1.0, "z_loss": z_scale} if z_scale else {"mlm_loss": 1.0}
