"""BERT's pretraining loss: MLM plus, where rows carry a pair label, the sentence-pair loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.batch import Batch
from bert_jax.objectives.mlm import mlm_sums
from bert_jax.objectives.sentence import pair_sums
from bert_jax.objectives.sums import Objective, Sums


def pretraining(apply: Callable[..., Any], *, with_pairs: bool) -> Objective:
    """MLM alone, or MLM + pair loss, equally weighted as in both papers.

    `apply` is the bound `BertWithHeads(config).apply`.
    """

    def forward(params: Any, constants: Any, batch: Batch, dropout_key: jax.Array | None) -> Any:
        return apply({"params": params}, batch, dropout_key=dropout_key)

    def sums(output: Any, batch: Batch) -> Sums:
        pairs = pair_sums(output.pair_logits_BPC, batch) if with_pairs else {}
        return {**mlm_sums(output.mlm_logits_BMV, batch), **pairs}

    def weights(batch: Batch) -> dict[str, jax.Array]:
        totals = {"mlm_loss": jnp.sum(batch["mlm_weights_BM"])}
        if with_pairs:
            totals["pair_loss"] = jnp.sum(batch["pair_weights_BP"])
        return totals

    terms = dict.fromkeys(("mlm_loss", "pair_loss") if with_pairs else ("mlm_loss",), 1.0)
    return Objective(forward=forward, sums=sums, weights=weights, terms=terms)
