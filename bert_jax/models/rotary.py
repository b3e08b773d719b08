"""Rotary positions (Su et al. 2021, section 3.2): pairs of a head's numbers turn by an angle that grows with the position,
so that the product of a query and a key depends on their distance."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Rotation(NamedTuple):
    """Cosine and sine of each position's angles, float32; J is K/2, the pairs of a head."""

    cos_BLJ: Array
    sin_BLJ: Array


def rotation(positions_BL: Array, *, base: float | Array, head_dim: int) -> Rotation:
    """The angles p * base^(-2 j / K) of position p and pair j (section 3.3, eq. 15)."""
    exponents_J = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
    frequencies_J = jnp.asarray(base, jnp.float32) ** -exponents_J
    angles_BLJ = positions_BL.astype(jnp.float32)[..., None] * frequencies_J[None, None]
    return Rotation(jnp.cos(angles_BLJ), jnp.sin(angles_BLJ))


def rotate(x_BLHK: Array, turn: Rotation, *, pairs: Literal["halves", "neighbours"]) -> Array:
    """(a, b) -> (a cos - b sin, b cos + a sin) for each pair, computed in float32, in the type of `x_BLHK`.

    pairs: a and b are k and k + K/2, or 2k and 2k + 1.
    """
    axis = -2 if pairs == "halves" else -1
    split = (2, -1) if pairs == "halves" else (-1, 2)
    x = x_BLHK.astype(jnp.float32).reshape(*x_BLHK.shape[:-1], *split)
    a, b = (jax.lax.index_in_dim(x, place, axis=axis, keepdims=False) for place in (0, 1))
    cos, sin = turn.cos_BLJ[:, :, None], turn.sin_BLJ[:, :, None]
    turned = jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=axis)
    return turned.reshape(x_BLHK.shape).astype(x_BLHK.dtype)
