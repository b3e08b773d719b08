"""The small parts that every encoder shares: dense layers, LayerNorm, activations, dropout.

Here and in `attention`, `deberta` and `block` are pure functions of parameters and inputs, which know nothing of linen:
the modules that call them (`embeddings`, `encoder`, `heads`) declare the parameters, by `declare`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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


@jax.named_scope("norm")
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
    """Zeroes a share `rate` of `x` [B, ..., X] and scales the rest to keep the mean; the identity without keys.

    The mask is a pure function of (seed, step, example, site, place in the example), so it does not depend on how rows are
    spread over devices, hosts or micro-batches. The backward pass makes it again: nothing of the size of `x` is kept.
    """
    if keys_B is None or rate == 0.0:
        return x
    return _dropout(x, jax.random.key_data(keys_B), rate)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _dropout(x: Array, words_B2: Array, rate: float) -> Array:
    with jax.named_scope("dropout"):
        scale = jnp.asarray(1 / (1 - rate), x.dtype)
        threshold = np.uint32(round(rate * 2**32))
        return jnp.where(random_words(words_B2, x.shape) >= threshold, x * scale, 0)


def _dropout_forward(x: Array, words_B2: Array, rate: float) -> tuple[Array, Array]:
    return _dropout(x, words_B2, rate), words_B2


def _dropout_backward(rate: float, words_B2: Array, grad: Array) -> tuple[Array, None]:
    # Without the barrier XLA finds the mask of the forward pass to be the same, and keeps that one instead.
    return _dropout(grad, jax.lax.optimization_barrier(words_B2), rate), None


_dropout.defvjp(_dropout_forward, _dropout_backward)


def random_words(words_B2: Array, shape: tuple[int, ...]) -> Array:
    """Uniform uint32 words of `shape` [B, ..., X] from the two key words of each row.

    Made in two steps, for a step of training draws a word for every element of every layer. Threefry gives two words to
    each vector of the last axis (`vector_words`); from these and its place in the vector each element has its own
    (`finalized`), in eight operations that fuse into their consumer: a threefry of four elements each takes thirty, and its
    output goes through memory.
    """
    *axes, width = shape[1:]
    pairs = vector_words(words_B2, tuple(axes))[..., None]
    places = jnp.arange(width, dtype=jnp.uint32).reshape((1,) * (len(axes) + 1) + (width,))
    return finalized(pairs[:, 0], pairs[:, 1], places)


def vector_words(words_B2: Array, axes: tuple[int, ...]) -> Array:
    """Two words of threefry2x32 (Salmon et al. 2011) for each of the vectors along `axes` of a row: [B, 2, ...]."""
    counters = jnp.arange(2 * math.prod(axes), dtype=jnp.uint32)
    pairs = jax.vmap(lambda key: threefry_2x32(key, counters))(words_B2)
    return pairs.reshape(words_B2.shape[0], 2, *axes)


def finalized(first: Array, second: Array, places: Array) -> Array:
    """The 32-bit finalizer of MurmurHash3 (Appleby 2011) of first + place, the second word joining before its second
    multiplication. Its last shift, which changes low bits alone, is left out: use the words by comparison.
    """
    x = first + places * np.uint32(0x9E3779B9)  # 2^32 / golden ratio: neighbours far apart
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    return (x ^ (x >> 13) ^ second) * np.uint32(0xC2B2AE35)
