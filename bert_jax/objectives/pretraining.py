"""BERT's pretraining loss: MLM plus, where rows carry a pair label, the sentence-pair loss; and z-loss, if wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.batch import Batch
from bert_jax.objectives.mlm import mlm_sums, mlm_terms, mlm_weights
from bert_jax.objectives.sentence import pair_sums
from bert_jax.objectives.sums import Objective, Sums


def pretraining(apply: Callable[..., Any], *, with_pairs: bool, z_loss: float = 0.0) -> Objective:
    """MLM alone, or MLM + pair loss, equally weighted as in both papers.

    Args:
      apply: the bound `BertWithHeads(config).apply`.
      z_loss: its scale; 0: none.
    """
    with_z = z_loss > 0

    def forward(params: Any, constants: Any, batch: Batch, dropout_key: jax.Array | None) -> Any:
        return apply({"params": params}, batch, dropout_key=dropout_key)

    def sums(output: Any, batch: Batch) -> Sums:
        pairs = pair_sums(output.pair_logits_BPC, batch) if with_pairs else {}
        return {**mlm_sums(output.mlm_logits_BMV, batch, with_z=with_z), **pairs}

    def weights(batch: Batch) -> dict[str, jax.Array]:
        totals = mlm_weights(batch, with_z=with_z)
        if with_pairs:
            totals["pair_loss"] = jnp.sum(batch["pair_weights_BP"])
        return totals

    terms = {**mlm_terms(z_loss), **({"pair_loss": 1.0} if with_pairs else {})}
    return Objective(forward=forward, sums=sums, weights=weights, terms=terms)
