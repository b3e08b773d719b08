"""Which tokens of a batch count."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bert_jax.batch import Batch


def real_tokens(batch: Batch) -> jax.Array:
    """1 for the tokens that count, float32 [B, L]: all but padding, [CLS] and [SEP] too.

    Pretraining's rows without a prediction fill up the last batch of an evaluation: none of their tokens counts.
    """
    is_real_BL = batch["pack_ids_BL"] > 0
    if "mlm_weights_BM" in batch:
        is_real_BL &= jnp.any(batch["mlm_weights_BM"] > 0, axis=1)[:, None]
    return is_real_BL.astype(jnp.float32)


def pairs_of_tokens(batch: Batch) -> jax.Array:
    """Which key a query of a token that counts may attend to, bool [B, L, T]: those of the same example."""
    pack_ids_BL = batch["pack_ids_BL"]
    same_BLT = pack_ids_BL[:, :, None] == pack_ids_BL[:, None]
    return same_BLT & (real_tokens(batch) > 0)[:, :, None]
