"""Self-attention (Vaswani et al. 2017, section 3.2) over the tokens of one example."""

from __future__ import annotations

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from bert_jax.models.layers import dense, dropout
from bert_jax.models.presets import ModelConfig

Array = jax.Array


@flax.struct.dataclass
class Visibility:
    """Which keys a query may see.

    mask: bool, [B, 1, 1, L] for unpacked rows, [B, 1, L, L] for packed ones.
    lengths_B: tokens before the padding, for kernels that take a length; None for packed rows.
    """

    mask: Array
    lengths_B: Array | None


def visibility(pack_ids_BL: Array, *, packed: bool) -> Visibility:
    """Tokens see the tokens of their own example, nothing sees padding (pack id 0).

    Padding queries see every token: their output is never used, and an empty row of attention
    would be undefined.
    """
    keys_B1L = pack_ids_BL[:, None, :]
    if not packed:
        return Visibility((keys_B1L > 0)[:, None], jnp.sum(pack_ids_BL > 0, axis=-1, dtype=jnp.int32))
    queries_BL1 = pack_ids_BL[:, :, None]
    same = (queries_BL1 == keys_B1L) | (queries_BL1 == 0)
    return Visibility(((keys_B1L > 0) & same)[:, None], None)


class SelfAttention(nn.Module):
    """Multi-head attention with heads kept as an axis of the weights: kernels [D, H, K], out [H, K, D]."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BLD: Array, visible: Visibility, keys_B: Array | None) -> Array:
        heads = (self.config.num_heads, self.config.head_dim)
        q_BLHK = dense(self.config, heads, name="query")(x_BLD)
        k_BLHK = dense(self.config, heads, name="key")(x_BLD)
        v_BLHK = dense(self.config, heads, name="value")(x_BLD)
        if self.config.attention_backend == "cudnn":
            y_BLHK = _cudnn_attention(q_BLHK, k_BLHK, v_BLHK, visible)
        else:
            rate = self.config.attention_dropout_rate
            y_BLHK = _xla_attention(q_BLHK, k_BLHK, v_BLHK, visible, rate, keys_B)
        return dense(self.config, self.config.hidden_size, axis=(-2, -1), name="output")(y_BLHK)


def _xla_attention(q_BLHK, k_BTHK, v_BTHK, visible, rate, keys_B) -> Array:
    """softmax(Q K^T / sqrt(K)) V (eq. 1), the softmax in float32. T is the L of keys."""
    scores_BHLT = jnp.einsum("BLHK,BTHK->BHLT", q_BLHK * q_BLHK.shape[-1] ** -0.5, k_BTHK)
    scores_BHLT = scores_BHLT.astype(jnp.float32)
    scores_BHLT = jnp.where(visible.mask, scores_BHLT, jnp.finfo(jnp.float32).min)
    att_BHLT = jax.nn.softmax(scores_BHLT, axis=-1).astype(v_BTHK.dtype)
    att_BHLT = dropout(att_BHLT, rate, keys_B)
    return jnp.einsum("BHLT,BTHK->BLHK", att_BHLT, v_BTHK)


def _cudnn_attention(q_BLHK, k_BTHK, v_BTHK, visible) -> Array:
    """The same in one fused kernel. Padding as lengths costs no tensor; packing needs the whole mask."""
    if visible.lengths_B is not None:
        return jax.nn.dot_product_attention(
            q_BLHK, k_BTHK, v_BTHK, key_value_seq_lengths=visible.lengths_B, implementation="cudnn"
        )
    return jax.nn.dot_product_attention(q_BLHK, k_BTHK, v_BTHK, mask=visible.mask, implementation="cudnn")
