"""Attention to the tokens that are near (Beltagy et al. 2020, section 3.1), at a cost that grows with the length alone.

Axes: N blocks of S tokens, S being the window; X the 3S keys of a block and its two neighbours. Distances are between
places in the row: examples are contiguous, so inside one they are those of the example.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bert_jax.models.layers import dropout

Array = jax.Array


def near(length: int | Array, *, window: int) -> Array:
    """Which keys lie within `window` of each query: bool [1, 1, length, length]."""
    index_L = jnp.arange(length)
    return (jnp.abs(index_L[:, None] - index_L[None]) <= window)[None, None]


def saves(length: int | Array, *, window: int) -> bool:
    """Whether blocks have fewer scores than the whole row; a length that is a symbol (`jax.export`) has no blocks."""
    return isinstance(length, int) and length > 3 * window


def blocked_attention(
    q_BLHK: Array,
    k_BLHK: Array,
    v_BLHK: Array,
    *,
    pack_ids_BL: Array,
    window: int,
    rate: float,
    keys_B: Array | None,
) -> Array:
    """softmax(q k) v over the keys of the query's own example that are at most `window` away: [B, L, H, K].

    q_BLHK: scaled. rate, keys_B: dropout of the probabilities. The softmax is in float32. At padding the output is
    never used.
    """
    length = q_BLHK.shape[1]
    blocks = -(-length // window)
    fill = blocks * window - length

    def in_blocks(x: Array) -> Array:
        padded = jnp.pad(x, ((0, 0), (0, fill), *((0, 0),) * (x.ndim - 2)))
        return padded.reshape(x.shape[0], blocks, window, *x.shape[2:])

    def with_neighbours(x: Array) -> Array:
        own = jnp.pad(in_blocks(x), ((0, 0), (1, 1), *((0, 0),) * (x.ndim - 1)))
        return jnp.concatenate([own[:, :-2], own[:, 1:-1], own[:, 2:]], axis=2)

    q_BNSHK, k_BNXHK, v_BNXHK = in_blocks(q_BLHK), with_neighbours(k_BLHK), with_neighbours(v_BLHK)
    scores_BHNSX = jnp.einsum("BNSHK,BNXHK->BHNSX", q_BNSHK, k_BNXHK).astype(jnp.float32)

    distance_SX = jnp.arange(3 * window)[None] - window - jnp.arange(window)[:, None]
    ids_BNS1, ids_BN1X = in_blocks(pack_ids_BL)[..., None], with_neighbours(pack_ids_BL)[:, :, None]
    allowed_BNSX = (ids_BNS1 == ids_BN1X) & (ids_BN1X > 0) & (jnp.abs(distance_SX) <= window)[None, None]
    scores_BHNSX = jnp.where(allowed_BNSX[:, None], scores_BHNSX, jnp.finfo(jnp.float32).min)

    att_BHNSX = dropout(jax.nn.softmax(scores_BHNSX, axis=-1).astype(v_BLHK.dtype), rate, keys_B)
    y_BNSHK = jnp.einsum("BHNSX,BNXHK->BNSHK", att_BHNSX, v_BNXHK)
    return y_BNSHK.reshape(q_BLHK.shape[0], blocks * window, *q_BLHK.shape[2:])[:, :length]
