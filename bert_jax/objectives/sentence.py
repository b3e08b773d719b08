"""Sentence-pair objectives: next sentence (Devlin et al. 2019, 3.1, task 2) and sentence order
(Lan et al. 2020, 3.1). They differ in the data alone: a two-way label an example."""

from __future__ import annotations

import jax

from bert_jax.batch import Batch
from bert_jax.objectives.sums import Sums, classification


def pair_sums(pair_logits_BPC: jax.Array, batch: Batch) -> Sums:
    """`pair_loss` (nats per example) and `pair_accuracy` over the examples that have a label."""
    return classification("pair", pair_logits_BPC, batch["pair_labels_BP"], batch["pair_weights_BP"])
