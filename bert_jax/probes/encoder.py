"""What probes ask of a trained encoder, whose parameters do not move."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.batch import Batch
from bert_jax.data.batches.rows import Rows
from bert_jax.models.bert import Bert, BertWithHeads
from bert_jax.models.inference import Inference
from bert_jax.objectives.sums import classification


def slot_predictor(model: Inference) -> Callable[[Batch], tuple[np.ndarray, np.ndarray]]:
    """A function of a batch of `model.rows` rows: of each masked slot the cross-entropy in nats, and whether it was
    hit; 0 in slots that are not in use: [B, M] each."""
    each = jax.vmap(jax.vmap(functools.partial(classification, "mlm")))

    def predict(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        encoder = BertWithHeads(model.config, ("mlm",))
        out: Any = encoder.apply({"params": params}, batch)
        sums = each(out.mlm_logits_BMV, batch["mlm_targets_BM"], batch["mlm_weights_BM"])
        return sums["mlm_loss"][0], sums["mlm_accuracy"][0]

    return model.compiled(predict)


def first_states(model: Inference, rows: Rows, *, description: str) -> np.ndarray:
    """The last layer's state of each row's first [CLS], float32 [N, D]."""

    def first(params: Any, batch: Batch) -> jax.Array:
        encoded: Any = Bert(model.config).apply({"params": params["bert"]}, batch)[0]
        first_B1 = batch["first_BP"][:, :1, None]
        state_B1D = jnp.take_along_axis(encoded.hidden_states[-1], first_B1, axis=1)
        return state_B1D[:, 0].astype(jnp.float32)

    names = ("tokens_BL", "type_ids_BL", "pack_ids_BL", "positions_BL", "first_BP")
    fields = {name: getattr(rows, name) for name in names}
    return model.over_rows(first, fields, description=description)
