"""What a loss reads of a teacher that is not computed: the parts of its outputs that a cache kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.objectives import soft_targets
from bert_jax.objectives.distillation import Compared, Loss, prediction_weights

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class KeptOutput:
    """In the place of a `bert.Output`. K: the largest logits of each prediction."""

    hidden_states: Mapping[int, Array]
    """those that are read, [B, L, D] each, by their numbers in `Output.hidden_states`"""
    top_logits_BMK: Array | None
    top_ids_BMK: Array | None
    """the entries of the vocabulary that they belong to; None, like the logits: no loss reads predictions"""

    @property
    def hidden_BLD(self) -> Array:
        """The last of the states; a loss that reads the last layer's has it kept."""
        return self.hidden_states[max(self.hidden_states)]


def soft_top(scale: float, *, temperature: float, every_token: bool) -> Loss:
    """The soft loss of masked language models where only the teacher's largest logits are known."""

    def total(c: Compared, batch: Any) -> Array:
        kept = c.teachers[0]
        loss_BM = soft_targets.soft_top(
            c.student.mlm_logits_BMV, kept.top_logits_BMK, kept.top_ids_BMK, temperature=temperature
        )
        return jnp.sum(loss_BM * prediction_weights(batch, every_token=every_token))

    return Loss(
        "soft_loss", scale, total, lambda batch: jnp.sum(prediction_weights(batch, every_token=every_token))
    )
