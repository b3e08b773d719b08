"""The small parts that every encoder shares: dense layers, LayerNorm, activations, dropout.

Here and in `attention`, `deberta` and `block` are pure functions of parameters and inputs, which know nothing of linen:
the modules that call them (`embeddings`, `encoder`, `heads`) declare the parameters, by `declare`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

from bert_jax.config.model import NormConfig

Array = jax.Array
Params = Mapping[str, Any]
"""Nested parameters: names to arrays or to further parameters."""


def gelu(x: Array) -> Array:
    """x * Phi(x) (Hendrycks and Gimpel 2016), by erf: flax's goes through erfc, which XLA splits."""
    return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


def dense(params: Params, x: Array, *, inputs: int = 1) -> Array:
    """x W + b over the last `inputs` axes of `x`, computed in the type of `x`."""
    y = jnp.tensordot(x, params["kernel"].astype(x.dtype), inputs)
    if "bias" not in params:
        return y
    bias = params["bias"].astype(x.dtype)
    return y + bias.reshape((1,) * (y.ndim - bias.ndim) + bias.shape)


def layer_norm(params: Params, x: Array, *, eps: float) -> Array:
    """(x - mean) / sqrt(variance + eps) * scale + bias over the last axis (Ba et al. 2016, eq. 3 and 4); the bias where
    there is one.

    Computed in float32 whatever the type of `x`, which the result has. The variance is the mean of squared
    differences: E[x^2] - E[x]^2 would lose digits.
    """
    scale, bias = (_vector(params, name, x.ndim) for name in ("scale", "bias"))
    x_float32 = x.astype(jnp.float32)
    mean = x_float32.mean(-1, keepdims=True)
    variance = jax.lax.square(x_float32 - mean).mean(-1, keepdims=True)
    y = (x.astype(jnp.float32) - mean) * (jax.lax.rsqrt(variance + eps) * scale)
    return (y if bias is None else y + bias).astype(x.dtype)


def rms_norm(params: Params, x: Array, *, eps: float) -> Array:
    """x / sqrt(mean of squares + eps) * scale over the last axis (Zhang and Sennrich 2019, eq. 4), in float32."""
    x_float32 = x.astype(jnp.float32)
    square = jax.lax.square(x_float32).mean(-1, keepdims=True)
    y = x_float32 * (jax.lax.rsqrt(square + eps) * _vector(params, "scale", x.ndim))
    return y.astype(x.dtype)


def norm(params: Params, x: Array, *, config: NormConfig) -> Array:
    """The normalisation that the config names."""
    return (rms_norm if config.kind == "rms" else layer_norm)(params, x, eps=config.eps)


def _vector(params: Params, name: str, axes: int) -> Any:
    """A parameter of the last of so many axes; None where there is none."""
    return params[name].reshape((1,) * (axes - 1) + (-1,)) if name in params else None


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
