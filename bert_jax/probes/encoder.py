"""A trained encoder that probes look at: its parameters stand still, its rows are spread over the devices."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bert_jax.config.presets import ModelConfig
from bert_jax.data.batches.rows import Rows
from bert_jax.models.bert import Bert, BertForPretraining
from bert_jax.models.inference import fitted
from bert_jax.objectives.sums import classification
from bert_jax.progress import bar

_ROWS = 64
"""Rows a device at once at most: how many they are decides no result, and a run's batch may be of many machines."""


class FrozenEncoder:
    """Forward passes without dropout, in the type the run computes in; every device has all parameters.

    `batch_size` is the run's; rows that are asked for together may be any number.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: Any,
        *,
        batch_size: int,
        devices: Sequence[jax.Device] | None = None,
    ):
        devices = jax.devices() if devices is None else devices
        if devices[0].platform != "gpu":  # a model that was trained with cuDNN must run without
            config = dataclasses.replace(config, attention_backend="xla")
        mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)
        self._by_row = NamedSharding(mesh, PartitionSpec("data"))
        self._params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        self._config, self.heads = fitted(config, params)
        self.rows = min(-(-batch_size // len(devices)), _ROWS) * len(devices)
        """rows of a batch"""

    def predict(self, batch: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Of each masked slot, the cross-entropy in nats and whether it was hit; 0 in slots not in use: [B, M] each.

        `batch` has the fields of `bert_jax.batch`, `rows` rows of them.
        """
        return jax.device_get(self._predict(self._params, jax.device_put(dict(batch), self._by_row)))

    def first_states(self, rows: Rows, *, description: str) -> np.ndarray:
        """The last layer's state of each row's first [CLS], float32 [N, D]."""
        count = len(rows.tokens_BL)
        names = ("tokens_BL", "type_ids_BL", "pack_ids_BL", "positions_BL", "first_BP")
        found = []
        for first in bar(range(0, count, self.rows), description=description, unit="batches", delay=1.0):
            # The last batch is filled up with its first rows: one shape, one program.
            number = np.resize(np.arange(first, min(first + self.rows, count)), self.rows)
            batch = {name: getattr(rows, name)[number] for name in names}
            found.append(self._first(self._params, jax.device_put(batch, self._by_row)))
        return np.concatenate(jax.device_get(found))[:count]

    @functools.cached_property
    def _predict(self):
        each = jax.vmap(jax.vmap(functools.partial(classification, "mlm")))

        @jax.jit
        def predict(params, batch):
            model = BertForPretraining(self._config, ("mlm",))
            out: Any = model.apply({"params": params}, batch)
            sums = each(out.mlm_logits_BMV, batch["mlm_targets_BM"], batch["mlm_weights_BM"])
            return sums["mlm_loss"][0], sums["mlm_accuracy"][0]

        return predict

    @functools.cached_property
    def _first(self):
        @jax.jit
        def first(params, batch):
            encoded: Any = Bert(self._config).apply({"params": params["bert"]}, batch)[0]
            first_B1 = batch["first_BP"][:, :1, None]
            state_B1D = jnp.take_along_axis(encoded.hidden_states[-1], first_B1, axis=1)
            return state_B1D[:, 0].astype(jnp.float32)

        return first
