"""The small parts that every encoder shares: dense layers, LayerNorm, activations, dropout.

Here and in `attention`, `deberta` and `block` a linen module declares parameters and returns them, called without
arguments; the function of the same name computes with them. Functions know nothing of linen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

from bert_jax.config.model import ModelConfig

Array = jax.Array
Params = Mapping[str, Any]
"""Nested parameters: names to arrays or to further parameters."""


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


class Dense(nn.Module):
    """The parameters of `dense`: a kernel of `shape` and a bias of its output axes, which starts at zero."""

    config: ModelConfig
    shape: tuple[int, ...]
    inputs: int = 1
    """how many axes of `shape` are inputs; the others are outputs"""
    use_bias: bool = True

    @nn.compact
    def __call__(self) -> Params:
        params = {"kernel": self.param("kernel", kernel_init(self.config), self.shape, jnp.float32)}
        if self.use_bias:
            outputs = self.shape[self.inputs :]
            params["bias"] = self.param("bias", nn.initializers.zeros, outputs, jnp.float32)
        return params


def dense(params: Params, x: Array, *, inputs: int = 1) -> Array:
    """x W + b over the last `inputs` axes of `x`, computed in the type of `x`."""
    y = jnp.tensordot(x, params["kernel"].astype(x.dtype), inputs)
    if "bias" not in params:
        return y
    bias = params["bias"].astype(x.dtype)
    return y + bias.reshape((1,) * (y.ndim - bias.ndim) + bias.shape)


class LayerNorm(nn.Module):
    """The parameters of `layer_norm`: a scale of one and a bias of zero to start with."""

    size: int

    @nn.compact
    def __call__(self) -> Params:
        return {
            "scale": self.param("scale", nn.initializers.ones, (self.size,), jnp.float32),
            "bias": self.param("bias", nn.initializers.zeros, (self.size,), jnp.float32),
        }


def layer_norm(params: Params, x: Array, *, eps: float) -> Array:
    """(x - mean) / sqrt(variance + eps) * scale + bias over the last axis (Ba et al. 2016, eq. 3 and 4).

    Computed in float32 whatever the type of `x`, which the result has. The variance is the mean of squared
    differences: E[x^2] - E[x]^2 would lose digits.
    """
    scale, bias = (params[name].reshape((1,) * (x.ndim - 1) + (-1,)) for name in ("scale", "bias"))
    x_float32 = x.astype(jnp.float32)
    mean = x_float32.mean(-1, keepdims=True)
    variance = jax.lax.square(x_float32 - mean).mean(-1, keepdims=True)
    y = (x.astype(jnp.float32) - mean) * (jax.lax.rsqrt(variance + eps) * scale) + bias
    return y.astype(x.dtype)


def dropout_keys(key: Array, example_ids_B: Array, sites: int) -> Array:
    """A threefry2x32 key for each row and each dropout site, [B, sites]; `key` belongs to the step."""
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, example_ids_B)
    return jax.vmap(lambda row_key: jax.random.split(row_key, sites))(keys_B)


def dropout(x: Array, rate: float, keys_B: Array | None) -> Array:
    """Zeroes a share `rate` of `x` [B, ...] and scales the rest to keep the mean; the identity without keys.

    The mask is a pure function of (seed, step, example, site), so it does not depend on how rows are spread over
    devices, hosts or micro-batches. The rate is exact to 2^-17.
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
