"""The one inference path: a model as a function of plain arrays, and a model placed on devices.

The API and `predict`, the probes and the exports come through here, so that heads, platforms, shapes and placement
are decided once.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bert_jax.batch import Batch
from bert_jax.config.head import OF_TEXTS, HeadConfig, Pooling
from bert_jax.config.model import ModelConfig
from bert_jax.models import bert
from bert_jax.models.encoder import every_layer
from bert_jax.models.heads import pooled_embedding
from bert_jax.progress import bar

Array = jax.Array

Head = Literal["mlm", "pair", "rtd"]
HEADS: tuple[Head, ...] = typing.get_args(Head)

BUCKETS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
"""Lengths that texts are padded to: few, for each is compiled, and close, for padding is computed too."""
_ROWS = 64
"""Rows of a device that are computed together, at most."""


def fitted(config: ModelConfig, params: Mapping[str, Any]) -> tuple[ModelConfig, tuple[str, ...]]:
    """The config and heads of the `BertWithHeads` that `params` fill: no pooler or head that they lack, nor a head that
    reads a pooler which they lack."""
    heads: tuple[str, ...] = tuple(head for head in HEADS if f"{head}_head" in params)
    if "pooler" not in params["bert"]:
        config = dataclasses.replace(config, pooler="none")
        heads = tuple(head for head in heads if head != "pair")  # it reads the pooler
    reads_pooler = config.head.kind in OF_TEXTS and config.head.hidden == "pooler"
    if config.head.outputs and ("task_head" not in params or (reads_pooler and config.pooler == "none")):
        config = dataclasses.replace(config, head=HeadConfig())
    return config, heads


def forward(
    config: ModelConfig,
    params: Mapping[str, Any],
    tokens_BL: Array,
    type_ids_BL: Array,
    mask_BL: Array,
    *,
    masked_BM: Array | None = None,
    attentions: bool = False,
) -> bert.Output:
    """One example a row, with the heads that `params` have; P is 1.

    masked_BM: the positions whose MLM logits are computed; None: all.
    """
    mask_BL = (mask_BL != 0).astype(jnp.int32)
    positions_BL = jnp.broadcast_to(jnp.arange(tokens_BL.shape[1], dtype=jnp.int32), tokens_BL.shape)
    batch: Batch = {
        "tokens_BL": tokens_BL,
        "type_ids_BL": type_ids_BL,
        "pack_ids_BL": mask_BL,
        "positions_BL": positions_BL,
        "mlm_positions_BM": positions_BL if masked_BM is None else masked_BM,
        "first_BP": jnp.zeros_like(tokens_BL[:, :1]),
    }
    model = bert.BertWithHeads(*fitted(config, params))
    record = every_layer(config, "probabilities") if attentions else {}
    out: Any = model.apply({"params": params}, batch, record=record)
    return out


def padded_length(longest: int, most: int) -> int:
    """The length that texts of up to `longest` tokens are padded to, for a model of `most` positions."""
    length = next((size for size in BUCKETS if size >= longest), longest)
    return min(length, max(most, longest))


def padded_rows(count: int) -> int:
    """The next power of two: the number of rows that a batch of `count` is filled up to, so that few are compiled."""
    return 1 << max(count - 1, 0).bit_length()


class Inference:
    """A model on devices, without dropout: every device has all parameters, rows are split over them.

    A model that was trained with the kernel of other devices runs with that of these.

    Args:
      devices: None: all of this machine.
      rows: how many rows are computed together, at most.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: Mapping[str, Any],
        *,
        devices: Sequence[jax.Device] | None = None,
        rows: int = 2**31,
    ):
        devices = jax.devices() if devices is None else devices
        config = config.on_these_devices()
        mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)
        self._devices = len(devices)
        self._by_row = NamedSharding(mesh, PartitionSpec("data"))
        self.config, self.heads = fitted(config, params)
        self.params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        self.rows = min(-(-rows // len(devices)), _ROWS) * len(devices)
        """rows of a batch, a multiple of the devices"""

    def __call__(
        self, tokens_BL: Any, type_ids_BL: Any, mask_BL: Any, *, attentions: bool = False
    ) -> bert.Output:
        """`forward` of these rows, whose number must be a multiple of the devices."""
        placed = jax.device_put((tokens_BL, type_ids_BL, mask_BL), self._by_row)
        return self._forward(self.params, *placed, attentions=attentions)

    def vectors(self, tokens_BL: Any, type_ids_BL: Any, mask_BL: Any, *, pooling: Pooling) -> Array:
        """A vector for each of these rows, float32 [B, D], not normalised; computes no head. As `__call__` otherwise."""
        placed = jax.device_put((tokens_BL, type_ids_BL, mask_BL), self._by_row)
        return self._vectors(self.params, *placed, pooling=pooling)

    @functools.cached_property
    def _vectors(self) -> Callable[..., Array]:
        def pooled(
            params: Any, tokens_BL: Array, type_ids_BL: Array, mask_BL: Array, *, pooling: Pooling
        ) -> Array:
            hidden_BLD = forward(self.config, params, tokens_BL, type_ids_BL, mask_BL).hidden_BLD
            pack_ids_BL = (mask_BL != 0).astype(jnp.int32)
            first_BP = jnp.zeros_like(tokens_BL[:, :1])
            return pooled_embedding(hidden_BLD, pack_ids_BL, first_BP, pooling=pooling)[:, 0]

        return jax.jit(pooled, static_argnames="pooling")

    def most_probable(
        self,
        tokens_BL: Any,
        type_ids_BL: Any,
        mask_BL: Any,
        masked_B1: Any,
        *,
        ids_W: Any,
        count: int,
    ) -> Array:
        """For one masked position of each row the most probable of the tokens `ids_W`: int32 [B, count], best first.

        Any number of rows. The model must have an MLM head; logits of other positions are not computed.
        """
        rows = len(tokens_BL)
        fields = (tokens_BL, type_ids_BL, mask_BL, masked_B1)
        spare = ((0, -rows % self._devices), (0, 0))
        placed = jax.device_put(tuple(np.pad(field, spare) for field in fields), self._by_row)
        return self._most_probable(self.params, *placed, jnp.asarray(ids_W), count=count)[:rows]

    @functools.cached_property
    def _most_probable(self) -> Callable[..., Array]:
        def best(
            params: Any,
            tokens_BL: Array,
            type_ids_BL: Array,
            mask_BL: Array,
            masked_B1: Array,
            ids_W: Array,
            *,
            count: int,
        ) -> Array:
            output = forward(self.config, params, tokens_BL, type_ids_BL, mask_BL, masked_BM=masked_B1)
            assert output.mlm_logits_BMV is not None, "a model with an MLM head gives them"
            _, places_BK = jax.lax.top_k(output.mlm_logits_BMV[:, 0, ids_W], count)
            return ids_W[places_BK]

        return jax.jit(best, static_argnames="count")

    @functools.cached_property
    def _forward(self) -> Callable[..., bert.Output]:
        return jax.jit(functools.partial(forward, self.config), static_argnames="attentions")

    def compiled(self, function: Callable[[Any, Batch], Any]) -> Callable[[Batch], Any]:
        """(parameters, batch) -> arrays, as a function of a batch of `rows` rows that gives NumPy arrays."""
        program = jax.jit(function)

        def run(batch: Batch) -> Any:
            return jax.device_get(program(self.params, jax.device_put(dict(batch), self._by_row)))

        return run

    def over_rows(
        self, function: Callable[[Any, Batch], Array], fields: Mapping[str, np.ndarray], *, description: str
    ) -> np.ndarray:
        """`function` over any number of rows, [N, ...]; `fields` has every field of all N rows.

        One shape is compiled: the last batch is filled up with its first rows.
        """
        count, rows = len(next(iter(fields.values()))), self.rows
        program = jax.jit(function)
        found = []
        for first in bar(range(0, count, rows), description=description, unit="batches", delay=1.0):
            number = np.resize(np.arange(first, min(first + rows, count)), rows)
            batch = {name: values[number] for name, values in fields.items()}
            found.append(program(self.params, jax.device_put(batch, self._by_row)))
        return np.concatenate(jax.device_get(found))[:count]
