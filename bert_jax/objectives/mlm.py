"""Masked language modelling (Devlin et al. 2019, section 3.1, task 1)."""

from __future__ import annotations

import jax

from bert_jax.batch import Batch
from bert_jax.objectives.sums import Sums, classification


def mlm_sums(mlm_logits_BMV: jax.Array, batch: Batch) -> Sums:
    """`mlm_loss` (nats per predicted token) and `mlm_accuracy` over the masked slots in use."""
    return classification("mlm", mlm_logits_BMV, batch["mlm_targets_BM"], batch["mlm_weights_BM"])
