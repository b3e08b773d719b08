"""Attention with linear biases (Press et al. 2022): scores fall with the distance, each head at its own rate."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def slopes(heads: int) -> tuple[float, ...]:
    """The rate of each head (section 3): 2^(-8 h / H) where H is a power of two; of other numbers those of the power
    below and, for the rest, every second one of the power above (the released code)."""
    power = 1 << (heads.bit_length() - 1)
    found = [2.0 ** (-8 * h / power) for h in range(1, power + 1)]
    between = [2.0 ** (-8 * h / (2 * power)) for h in range(1, 2 * power + 1, 2)]
    return tuple(found + between[: heads - power])


def biases(length: int | Array, *, heads: int) -> Array:
    """-slope |i - j| of query i and key j, float32 [1, H, L, T]; both directions alike, as in MosaicBERT."""
    index_L = jnp.arange(length)
    distance_LT = jnp.abs(index_L[:, None] - index_L[None]).astype(jnp.float32)
    return (-jnp.asarray(slopes(heads), jnp.float32)[:, None, None] * distance_LT[None])[None]
