"""Disentangled attention, DeBERTa's (He et al. 2021a, section 3.1; He et al. 2021b, "DeBERTaV3"), and the
convolution that the v2 release adds to the first layer's output.

Axis U: the distances i - j from query i to key j, of which a row of length L has 2L - 1. Scores against the projected
table are computed for distances, not for the [L, L] pairs: examples are contiguous, so a distance inside one is a
difference of indexes into the row however the row is packed.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from bert_jax.config.model import ModelConfig
from bert_jax.models.attention import AttentionMask, Internals, Item, attend
from bert_jax.models.layers import Params, dense, dropout, gelu, layer_norm

Array = jax.Array


def _bucket(distance: int, buckets: int, span: int) -> int:
    """The v2 release's bucket of a distance: itself up to half of `buckets`, then logarithmic."""
    middle, length = buckets // 2, abs(distance)
    if length <= middle:
        return distance
    fraction = math.log(length / middle) / math.log((span - 1) / middle)
    return int(math.copysign(math.ceil(fraction * (middle - 1)) + middle, distance))


@functools.lru_cache
def _table_index(span: int, buckets: int) -> tuple[int, ...]:
    """The index into the relative table of every distance from -span to span; those beyond have that of the end.

    Without buckets delta(i, j) of eq. 3, k being `span`. Computed with Python's floats, so that no accelerator's
    logarithm moves a bucket's edge.
    """
    half = buckets or span
    steps = ((_bucket(d, buckets, span) if buckets else d) for d in range(-span, span + 1))
    return tuple(min(max(half + step, 0), 2 * half - 1) for step in steps)


def relative_index(length: int, config: ModelConfig) -> Array:
    """The index into the relative table of every distance from -(length - 1) to length - 1, [2 length - 1]."""
    span = config.relative.span
    index = jnp.asarray(_table_index(span, config.relative.buckets), jnp.int32)
    # An array even where the length is known: under `jax.export` it may be a symbol.
    return index[jnp.clip(jnp.arange(1 - length, length), -span, span) + span]


def skew(x_BHLU: Array) -> Array:
    """y[..., i, j] = x[..., i, j - i + L - 1], from [B, H, L, 2L] to [B, H, L, L]; the last column is unread.

    Row i's window starts one element left of row i - 1's. Rows of one element less do the same, so this is a
    slice between two reshapes, and so is its gradient: no gather and no scatter over [B, H, L, L].
    """
    batch, heads, length, _ = x_BHLU.shape
    size = 2 * length * length
    flat = x_BHLU.reshape(batch, heads, size)[:, :, length - 1 : size - 1]
    return flat.reshape(batch, heads, length, 2 * length - 1)[..., :length]


def relative_table(params: Params, *, config: ModelConfig) -> Array:
    """The embeddings of distances [R, D] as every layer reads them: v2 normalizes them."""
    table_RD = params["table"]
    if config.relative.norm:
        table_RD = layer_norm(params["norm"], table_RD, eps=config.norm.eps)
    return table_RD.astype(config.dtype)


def disentangled_attention(
    params: Params,
    x_BLD: Array,
    *,
    config: ModelConfig,
    mask: AttentionMask,
    relative_RD: Array,
    keys_B: Array | None,
    is_local: bool = False,
    queries_BLD: Array | None = None,
    record: frozenset[Item] = frozenset(),
) -> tuple[Array, Internals]:
    """Attention whose scores sum content to content, content to position and position to content (eq. 4):

      (Qc_i . Kc_j + Qc_i . Kr_d + Kc_j . Qr_d) / sqrt((1 + terms) K),  d = delta(i, j)

    Eq. 4 has delta(j, i) in its last term. The released code, and with it every published weight, reads
    delta(i, j) there: it gathers Kc_j . Qr at span - bucket(j - i) for key j and query i, then transposes, and
    buckets are odd in the distance. v1 projects the table by matrices of its own; with shared projections
    (v2, v3) the content's query and key do it, biases included.

    Returns the output [B, L, D] and what `record` asks for; queries and keys are the content's, scores the sum.

    relative_RD: the relative table; its dropout is the caller's. keys_B: dropout keys of the probabilities.
    is_local: only tokens within `config.window` are attended to; scores are computed for all. queries_BLD: what queries
    are projected from in place of `x_BLD` (the enhanced mask decoder, section 3.2).
    """
    shared = config.relative.projections == "shared"
    scale = ((1 + len(config.relative.terms)) * config.head_dim) ** -0.5
    content_BLHK = dense(params["query"], x_BLD if queries_BLD is None else queries_BLD)
    q_BLHK = content_BLHK * scale
    k_BTHK = dense(params["key"], x_BLD)
    v_BTHK = dense(params["value"], x_BLD)
    index_U = relative_index(x_BLD.shape[1], config)
    # The terms are summed in float32: each is of the size of the sum.
    scores_BHLT = jnp.einsum("BLHK,BTHK->BHLT", q_BLHK, k_BTHK).astype(jnp.float32)
    if "c2p" in config.relative.terms:
        k_RHK = dense(params["key" if shared else "position_key"], relative_RD)
        k_UHK = _of_distances(k_RHK, index_U[::-1])
        c2p_BHLT = skew(jnp.einsum("BLHK,UHK->BHLU", q_BLHK, k_UHK))
        scores_BHLT += c2p_BHLT.astype(jnp.float32)
    if "p2c" in config.relative.terms:
        q_RHK = dense(params["query" if shared else "position_query"], relative_RD) * scale
        q_UHK = _of_distances(q_RHK, index_U)
        p2c_BHTL = skew(jnp.einsum("BTHK,UHK->BHTU", k_BTHK, q_UHK))
        scores_BHLT += p2c_BHTL.swapaxes(-1, -2).astype(jnp.float32)

    rate = config.attention_dropout_rate
    allowed_B1LT = mask.within(config.window) if is_local else mask.allowed_B1LT
    y_BLHK, att_BHLT = attend(scores_BHLT, v_BTHK, allowed_B1LT=allowed_B1LT, rate=rate, keys_B=keys_B)
    internals = Internals.of(
        record, queries_BLHK=content_BLHK, keys_BTHK=k_BTHK, values_BTHK=v_BTHK, scores_BHLT=scores_BHLT,
        probabilities_BHLT=att_BHLT,
    )  # fmt: skip
    return dense(params["output"], y_BLHK, inputs=2), internals


def _of_distances(projected_RHK: Array, index_U: Array) -> Array:
    """The projected embeddings of the 2L - 1 distances, and one more that `skew` does not read: [2L, H, K]."""
    return projected_RHK[jnp.pad(index_U, (0, 1))]


def convolution(
    params: Params,
    x_BLD: Array,
    *,
    config: ModelConfig,
    layer_BLD: Array,
    pack_ids_BL: Array,
    keys_B: Array | None,
) -> Array:
    """LayerNorm(layer + gelu(dropout(conv(x)))), over each example by itself (the v2 release's ConvLayer): [B, L, D].

    x_BLD: the encoder's input; layer_BLD: the first layer's output. A tap that would read another example or
    padding reads zero; the output at padding is never used.
    """
    taps, length = config.relative.convolution, x_BLD.shape[1]
    reach = taps // 2
    padded_BLD = jnp.pad(x_BLD, ((0, 0), (reach, reach), (0, 0)))
    padded_BL = jnp.pad(pack_ids_BL, ((0, 0), (reach, reach)))
    near_BLWD = jnp.stack([padded_BLD[:, tap : tap + length] for tap in range(taps)], axis=2)
    ids_BLW = jnp.stack([padded_BL[:, tap : tap + length] for tap in range(taps)], axis=2)
    own_BLW = ids_BLW == pack_ids_BL[..., None]
    near_BLWD = jnp.where(own_BLW[..., None], near_BLWD, 0).astype(config.dtype)

    y_BLD = jnp.einsum("BLWD,WDO->BLO", near_BLWD, params["kernel"].astype(config.dtype))
    y_BLD = y_BLD + params["bias"].astype(config.dtype)[None, None]
    y_BLD = layer_BLD + gelu(dropout(y_BLD, config.dropout("mlp"), keys_B))
    return layer_norm(params["norm"], y_BLD, eps=config.norm.eps)
