"""Disentangled attention, DeBERTa's (He et al. 2021a, section 3.1; He et al. 2021b, "DeBERTaV3"), and the
convolution that the v2 release sets beside the first layer.

Axis U: the distances i - j from query i to key j, of which a row of length L has 2L - 1. Only they meet the
projected table, never the [L, L] pairs: examples are contiguous, so a distance inside one is a difference of
row indexes however the row is packed.
"""

from __future__ import annotations

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.config.model import ModelConfig
from bert_jax.models.attention import Visibility, masked_softmax
from bert_jax.models.layers import dense, dropout, gelu, kernel_init, layer_norm

Array = jax.Array


def _bucket(distance: int, buckets: int, span: int) -> int:
    """The v2 release's bucket of a distance: itself up to half of `buckets`, then logarithmic."""
    middle, length = buckets // 2, abs(distance)
    if length <= middle:
        return distance
    part = math.log(length / middle) / math.log((span - 1) / middle)
    return int(math.copysign(math.ceil(part * (middle - 1)) + middle, distance))


@functools.lru_cache
def _rows(span: int, buckets: int) -> tuple[int, ...]:
    """The row of every distance from -span to span; those beyond have the rows of the two ends.

    Without buckets delta(i, j) of eq. 3, k being `span`. Made of Python's floats, so that no accelerator's
    logarithm moves a bucket's edge.
    """
    half = buckets or span
    steps = ((_bucket(d, buckets, span) if buckets else d) for d in range(-span, span + 1))
    return tuple(min(max(half + step, 0), 2 * half - 1) for step in steps)


def relative_index(length: int, config: ModelConfig) -> Array:
    """The row of the relative table for every distance from -(length - 1) to length - 1, [2 length - 1]."""
    span = config.relative_span
    rows = jnp.asarray(_rows(span, config.relative_buckets), jnp.int32)
    # An array even where the length is known: under `jax.export` it may be a symbol.
    return rows[jnp.clip(jnp.arange(1 - length, length), -span, span) + span]


def skew(x_BHLU: Array) -> Array:
    """y[..., i, j] = x[..., i, j - i + L - 1], from [B, H, L, 2L] to [B, H, L, L]; the last column is unread.

    Row i's window starts one element left of row i - 1's. Rows of one element less do the same, so this is a
    slice between two reshapes, and so is its gradient: no gather and no scatter over [B, H, L, L].
    """
    batch, heads, length, _ = x_BHLU.shape
    size = 2 * length * length
    flat = x_BHLU.reshape(batch, heads, size)[:, :, length - 1 : size - 1]
    return flat.reshape(batch, heads, length, 2 * length - 1)[..., :length]


class RelativeTable(nn.Module):
    """The rows [R, D] that stand for distances, which every layer projects; v2 puts them through LayerNorm."""

    config: ModelConfig

    @nn.compact
    def __call__(self) -> Array:
        config = self.config
        shape = (config.relative_rows, config.hidden_size)
        table_RD = self.param("table", kernel_init(config), shape, jnp.float32)
        if config.relative_norm:
            return layer_norm(config, name="norm")(table_RD)
        return table_RD.astype(config.dtype)


class DisentangledAttention(nn.Module):
    """Attention whose scores sum content to content, content to position and position to content (eq. 4):

      (Qc_i . Kc_j + Qc_i . Kr_d + Kc_j . Qr_d) / sqrt((1 + relative_terms) K),  d = delta(i, j)

    Eq. 4 has delta(j, i) in its last term. The released code, and with it every published weight, reads
    delta(i, j) there: it gathers Kc_j . Qr at span - bucket(j - i) for key j and query i, then transposes, and
    buckets are odd in the distance. v1 projects the table by matrices of its own; with shared projections
    (v2, v3) the content's query and key do it, biases included.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        x_BLD: Array,
        visible: Visibility,
        keys_B: Array | None,
        *,
        queries_BLD: Array | None = None,
        relative_RD: Array,
    ) -> tuple[Array, Array]:
        """Returns the output [B, L, D] and the probabilities [B, H, L, T] as they are before dropout.

        keys_B: keys of the probabilities' dropout; dropout of the relative table is the caller's. queries_BLD:
        what queries are made of in place of `x_BLD` (the enhanced mask decoder, section 3.2).
        """
        config = self.config
        heads = (config.num_heads, config.head_dim)
        query = dense(config, heads, name="query")
        key = dense(config, heads, bias=config.key_bias, name="key")
        position_key, position_query = key, query
        if config.relative_projections == "separate":
            position_key = dense(config, heads, bias=config.key_bias, name="position_key")
            position_query = dense(config, heads, name="position_query")

        scale = ((1 + len(config.relative_terms)) * config.head_dim) ** -0.5
        q_BLHK = query(x_BLD if queries_BLD is None else queries_BLD) * scale
        k_BTHK = key(x_BLD)
        v_BTHK = dense(config, heads, name="value")(x_BLD)
        index_U = relative_index(x_BLD.shape[1], config)
        # The terms are summed in float32: each is of the size of the sum.
        scores_BHLT = jnp.einsum("BLHK,BTHK->BHLT", q_BLHK, k_BTHK).astype(jnp.float32)
        if "c2p" in config.relative_terms:
            k_UHK = _of_distances(position_key(relative_RD), index_U[::-1])
            scores_BHLT += skew(jnp.einsum("BLHK,UHK->BHLU", q_BLHK, k_UHK))
        if "p2c" in config.relative_terms:
            q_UHK = _of_distances(position_query(relative_RD) * scale, index_U)
            scores_BHLT += skew(jnp.einsum("BTHK,UHK->BHTU", k_BTHK, q_UHK)).swapaxes(-1, -2)

        att_BHLT = masked_softmax(scores_BHLT, visible).astype(v_BTHK.dtype)
        dropped_BHLT = dropout(att_BHLT, config.attention_dropout_rate, keys_B)
        y_BLHK = jnp.einsum("BHLT,BTHK->BLHK", dropped_BHLT, v_BTHK)
        return dense(config, config.hidden_size, axis=(-2, -1), name="output")(y_BLHK), att_BHLT


def _of_distances(rows_RHK: Array, index_U: Array) -> Array:
    """The rows of the 2L - 1 distances and one more for `skew` not to read: [2L, H, K]."""
    return rows_RHK[jnp.pad(index_U, (0, 1))]


class Convolution(nn.Module):
    """LayerNorm(layer + gelu(dropout(conv(x)))), over each example by itself (the v2 release's ConvLayer).

    A token's tap that would read another example or padding reads zero; what padding gets is never used.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: Array, layer_BLD: Array, pack_ids_BL: Array, keys_B: Array | None) -> Array:
        """x_BLD: the encoder's input; layer_BLD: the first layer's output."""
        config = self.config
        taps, width, length = config.convolution, config.hidden_size, x_BLD.shape[1]
        kernel_WDD = self.param("kernel", kernel_init(config), (taps, width, width), jnp.float32)
        bias_D = self.param("bias", nn.initializers.zeros, (width,), jnp.float32)

        reach = taps // 2
        padded_BLD = jnp.pad(x_BLD, ((0, 0), (reach, reach), (0, 0)))
        padded_BL = jnp.pad(pack_ids_BL, ((0, 0), (reach, reach)))
        near_BLWD = jnp.stack([padded_BLD[:, tap : tap + length] for tap in range(taps)], axis=2)
        ids_BLW = jnp.stack([padded_BL[:, tap : tap + length] for tap in range(taps)], axis=2)
        own_BLW = ids_BLW == pack_ids_BL[..., None]
        near_BLWD = jnp.where(own_BLW[..., None], near_BLWD, 0).astype(config.dtype)

        y_BLD = jnp.einsum("BLWD,WDO->BLO", near_BLWD, kernel_WDD.astype(config.dtype))
        y_BLD = gelu(dropout(y_BLD + bias_D.astype(config.dtype), config.dropout_rate, keys_B))
        return layer_norm(config, name="norm")(layer_BLD + y_BLD)
