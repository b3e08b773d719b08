"""Self-attention (Vaswani et al. 2017, section 3.2) over the tokens of one example."""

from __future__ import annotations

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from bert_jax.config.model import ModelConfig
from bert_jax.models.layers import dense, dropout

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
    def __call__(
        self, x_BLD: Array, visible: Visibility, keys_B: Array | None, *, probabilities: bool = False
    ) -> tuple[Array, Array | None]:
        """Returns the output [B, L, D] and, if asked for, the attention probabilities [B, H, L, T]."""
        heads = (self.config.num_heads, self.config.head_dim)
        q_BLHK = dense(self.config, heads, name="query")(x_BLD)
        k_BLHK = dense(self.config, heads, name="key")(x_BLD)
        v_BLHK = dense(self.config, heads, name="value")(x_BLD)
        att_BHLT = None
        if self.config.attention_backend == "cudnn" and not probabilities:
            y_BLHK = _cudnn_attention(q_BLHK, k_BLHK, v_BLHK, visible)
        else:
            rate = self.config.attention_dropout_rate
            att_BHLT = _xla_attention(q_BLHK, k_BLHK, visible).astype(v_BLHK.dtype)
            y_BLHK = jnp.einsum("BHLT,BTHK->BLHK", dropout(att_BHLT, rate, keys_B), v_BLHK)
        y_BLD = dense(self.config, self.config.hidden_size, axis=(-2, -1), name="output")(y_BLHK)
        return y_BLD, att_BHLT if probabilities else None


def _xla_attention(q_BLHK, k_BTHK, visible) -> Array:
    """softmax(Q K^T / sqrt(K)) (Vaswani et al. 2017, eq. 1) in float32. T is the L of keys."""
    scores_BHLT = jnp.einsum("BLHK,BTHK->BHLT", q_BLHK * q_BLHK.shape[-1] ** -0.5, k_BTHK)
    return masked_softmax(scores_BHLT, visible)


def masked_softmax(scores_BHLT: Array, visible: Visibility) -> Array:
    """Softmax over the keys that a query may see, in float32."""
    scores_BHLT = scores_BHLT.astype(jnp.float32)
    scores_BHLT = jnp.where(visible.mask, scores_BHLT, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores_BHLT, axis=-1)


def _cudnn_attention(q_BLHK, k_BTHK, v_BTHK, visible) -> Array:
    """The same in one fused kernel. Padding as lengths costs no tensor; packing needs the whole mask."""
    if visible.lengths_B is not None:
        return jax.nn.dot_product_attention(
            q_BLHK, k_BTHK, v_BTHK, key_value_seq_lengths=visible.lengths_B, implementation="cudnn"
        )
    return jax.nn.dot_product_attention(q_BLHK, k_BTHK, v_BTHK, mask=visible.mask, implementation="cudnn")
