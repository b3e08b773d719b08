"""The small parts every encoder shares: projections, LayerNorm, activations, dropout."""

from __future__ import annotations

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

from bert_jax.config.model import ModelConfig

Array = jax.Array


def gelu(x: Array) -> Array:
    """x * Phi(x) (Hendrycks and Gimpel 2016), by erf: flax's goes through erfc, which XLA splits."""
    return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_tanh": lambda x: nn.gelu(x, approximate=True),
}


def kernel_init(config: ModelConfig) -> nn.initializers.Initializer:
    """Normal cut at two standard deviations, as `tf.truncated_normal_initializer` (BERT's code)."""
    return nn.initializers.truncated_normal(config.initializer_range)


def dense(
    config: ModelConfig, features: int | tuple[int, ...], *, name: str, axis=-1, bias: bool = True
) -> nn.DenseGeneral:
    """A projection from `axis` to `features`, computed in `config.dtype`."""
    return nn.DenseGeneral(
        features, axis=axis, use_bias=bias, dtype=config.dtype, kernel_init=kernel_init(config), name=name
    )


def layer_norm(config: ModelConfig, *, name: str) -> nn.LayerNorm:
    """LayerNorm over the last axis; mean and variance in float32 (flax's default) whatever the dtype."""
    return nn.LayerNorm(epsilon=config.layer_norm_eps, dtype=config.dtype, use_fast_variance=False, name=name)


def dropout_keys(key: Array, example_ids_B: Array, sites: int) -> Array:
    """A threefry2x32 key for each row and each place of dropout, [B, sites]; `key` belongs to the step."""
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, example_ids_B)
    return jax.vmap(lambda row_key: jax.random.split(row_key, sites))(keys_B)


def dropout(x: Array, rate: float, keys_B: Array | None) -> Array:
    """Zeroes a share `rate` of `x` [B, ...] and scales the rest to keep the mean; the identity without keys.

    The mask is a pure function of (seed, step, example, place), so it does not depend on how rows are
    spread over devices, hosts or micro-batches. The rate is exact to 2^-17.
    """
    if keys_B is None or rate == 0.0:
        return x
    threshold = round(rate * 2**16)
    # One hash gives 64 bits: four elements' 16. `jax.random.bits` would take three hashes more, and the
    # generators that are cheaper still (threefry4x32, philox4x32) compile for minutes over a mesh or not
    # at all (jaxlib 0.10.2).
    count = math.prod(x.shape[1:])
    counters = jnp.arange((count + 1) // 2, dtype=jnp.uint32)
    words = jax.vmap(lambda row_key: threefry_2x32(jax.random.key_data(row_key), counters))(keys_B)
    bits = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(x.shape[0], -1)
    bits = bits[:, :count].reshape(x.shape)
    scale = jnp.asarray(2**16 / (2**16 - threshold), x.dtype)
    return jnp.where(bits >= threshold, x * scale, jnp.zeros((), x.dtype))
