"""How a linen module declares parameters: from their rows in the table, so that each is described once.

`init` makes them and `apply` looks them up; both give a nested dict, which pure functions then take. Matrices and
tables begin as `model.initializer` says, by default as a normal cut at two standard deviations
(`tf.truncated_normal_initializer` in BERT's code), scales as one, biases as zero; all are float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.config.model import ModelConfig
from bert_jax.models.layers import Params
from bert_jax.models.parameters import TABLE, Parameter, nest, sizes

Rows = Mapping[str, Any]
"""Nested dicts of `Parameter`, by the names of a path."""


def rows_below(place: str, config: ModelConfig) -> dict[str, Any]:
    """The rows that a model of `config` has below `place`, such as "bert/pooler", as nested dicts."""
    start = f"{place}/"
    rows = (row for row in TABLE.rows if row.path.startswith(start) and row.exists(config))
    return nest({row.path.removeprefix(start): row for row in rows})


def shape(row: Parameter, config: ModelConfig) -> tuple[int, ...]:
    """The shape of the parameter in a model of `config`."""
    lengths = sizes(config)
    return tuple(lengths[axis] for axis in row.axes)


def declare(module: nn.Module, rows: Rows, *, config: ModelConfig) -> Params:
    """The parameters of `rows` under the path of `module`, which is in its `setup` or compact method."""
    return {
        name: module.param(name, _initializer(row, config), shape(row, config), jnp.float32)
        if isinstance(row, Parameter)
        else _Group(row, config, name=name)()
        for name, row in rows.items()
    }


class _Group(nn.Module):
    """The parameters below one name of a path."""

    rows: Rows
    config: ModelConfig

    @nn.compact
    def __call__(self) -> Params:
        return declare(self, self.rows, config=self.config)


def _uniform(bound: float) -> nn.initializers.Initializer:
    def initializer(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return initializer


def _initializer(row: Parameter, config: ModelConfig) -> nn.initializers.Initializer:
    spread = config.initializer_range
    if row.path.endswith("/position_scale"):  # tables of 0.02 and waves of 1 would drown the tokens
        return nn.initializers.constant(config.embedding_width**-0.5)
    if row.kind != "vector":
        if config.initializer == "uniform":
            return _uniform(spread)
        if config.initializer == "megatron" and row.adds_to_residual:
            spread /= math.sqrt(2 * config.num_layers)
        return nn.initializers.truncated_normal(spread)
    return nn.initializers.ones if row.path.endswith("/scale") else nn.initializers.zeros
