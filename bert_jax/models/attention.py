"""Multi-head self-attention (Vaswani et al. 2017, section 3.2) over the tokens of one example.

Heads are an axis of the weights: query, key and value kernels are [D, H, K], the output's is [H, K, D]. T is the L
of keys and values.
"""

from __future__ import annotations

from typing import Literal

import flax.struct
import jax
import jax.numpy as jnp

from bert_jax.config.model import ModelConfig
from bert_jax.models.alibi import biases
from bert_jax.models.backends import backend_for
from bert_jax.models.fused import fused_attention
from bert_jax.models.layers import Params, dense, dropout
from bert_jax.models.local import blocked_attention, near, saves
from bert_jax.models.rotary import Rotation, rotate

Array = jax.Array

Item = Literal["queries", "keys", "values", "scores", "probabilities"]
"""What of a layer's attention can be recorded, see `Internals`."""


@flax.struct.dataclass
class Internals:
    """What a layer's attention computes on its way; None: not asked for. Distillation and inspection read it."""

    queries_BLHK: Array | None = None
    """projected, with rotary positions turned, not scaled"""
    keys_BTHK: Array | None = None
    values_BTHK: Array | None = None
    scores_BHLT: Array | None = None
    """scaled, before mask and softmax"""
    probabilities_BHLT: Array | None = None
    """after the softmax, before dropout"""

    @classmethod
    def of(cls, items: frozenset[Item], **computed: Array | None) -> Internals:
        """Those of `computed`, named as the fields, that `items` asks for."""
        return cls(**{name: x for name, x in computed.items() if name.rpartition("_")[0] in items})


@flax.struct.dataclass
class AttentionMask:
    """Which keys a query attends to."""

    allowed_B1LT: Array
    """bool; axis L is 1 where all queries of a row attend to the same keys"""
    lengths_B: Array | None
    """tokens before the padding, for kernels that take a length; None for packed rows"""
    pack_ids_BL: Array
    """which example of its row a token belongs to; 0: padding"""

    def within(self, window: int) -> Array:
        """bool [B, 1, L, T]: the keys that are also at most `window` tokens away."""
        return self.allowed_B1LT & near(self.pack_ids_BL.shape[1], window=window)


def attention_mask(pack_ids_BL: Array, *, packed: bool) -> AttentionMask:
    """Tokens attend to the tokens of their own example, and none attends to padding (pack id 0).

    Padding queries attend to every token: their output is never used, and a softmax over no key would be undefined.
    """
    keys_B1T = pack_ids_BL[:, None, :]
    if not packed:
        lengths_B = jnp.sum(pack_ids_BL > 0, axis=-1, dtype=jnp.int32)
        return AttentionMask((keys_B1T > 0)[:, None], lengths_B, pack_ids_BL)
    queries_BL1 = pack_ids_BL[:, :, None]
    same_BLT = (queries_BL1 == keys_B1T) | (queries_BL1 == 0)
    return AttentionMask(((keys_B1T > 0) & same_BLT)[:, None], None, pack_ids_BL)


def self_attention(
    params: Params,
    x_BLD: Array,
    *,
    config: ModelConfig,
    mask: AttentionMask,
    keys_B: Array | None,
    is_local: bool = False,
    turn: Rotation | None = None,
    record: frozenset[Item] = frozenset(),
) -> tuple[Array, Internals]:
    """The output [B, L, D] and what `record` asks for.

    keys_B: dropout keys of the probabilities. is_local: only tokens within `config.window` are attended to. turn: of
    queries and keys, with rotary positions. cuDNN's kernel and local attention in blocks give neither scores nor
    probabilities of the row: a layer that records one of them is computed without.
    """
    length, rate, scale = x_BLD.shape[1], config.attention_dropout_rate, config.head_dim**-0.5
    backend = backend_for(config, length, drops=rate > 0 and keys_B is not None)
    if backend == "pallas":  # the kernel reads whole arrays, of which parts of one would have to be copied
        q_BLHK, k_BTHK, v_BTHK = (dense(params[name], x_BLD) for name in ("query", "key", "value"))
    else:
        q_BLHK, k_BTHK, v_BTHK = projections(params, x_BLD)
    if turn is not None:
        q_BLHK, k_BTHK = (rotate(x, turn, pairs=config.rotary.pairs) for x in (q_BLHK, k_BTHK))
    scores_BHLT = att_BHLT = None
    needs_all = bool(record & {"scores", "probabilities"}) or config.positions == "alibi"
    if is_local and saves(length, window=config.window) and not needs_all:
        y_BLHK = blocked_attention(
            q_BLHK * scale, k_BTHK, v_BTHK, pack_ids_BL=mask.pack_ids_BL, window=config.window, rate=rate,
            keys_B=keys_B,
        )  # fmt: skip
    elif (backend == "pallas" or backend == "triton") and not needs_all and not is_local:
        y_BLHK = fused_attention(
            backend, q_BLHK * scale, k_BTHK, v_BTHK, pack_ids_BL=mask.pack_ids_BL, rate=rate, keys_B=keys_B
        )
    elif backend == "cudnn" and not needs_all and not is_local:
        y_BLHK = _cudnn_attention(q_BLHK, k_BTHK, v_BTHK, mask)
    else:
        scores_BHLT = jnp.einsum("BLHK,BTHK->BHLT", q_BLHK * scale, k_BTHK)
        if config.positions == "alibi":
            scores_BHLT = scores_BHLT.astype(jnp.float32) + biases(length, heads=config.num_heads)
        allowed_B1LT = mask.within(config.window) if is_local else mask.allowed_B1LT
        y_BLHK, att_BHLT = attend(scores_BHLT, v_BTHK, allowed_B1LT=allowed_B1LT, rate=rate, keys_B=keys_B)
    internals = Internals.of(
        record, queries_BLHK=q_BLHK, keys_BTHK=k_BTHK, values_BTHK=v_BTHK, scores_BHLT=scores_BHLT,
        probabilities_BHLT=att_BHLT,
    )  # fmt: skip
    return dense(params["output"], y_BLHK, inputs=2), internals


def projections(params: Params, x_BLD: Array) -> tuple[Array, Array, Array]:
    """Queries, keys and values of the same states, each [B, L, H, K], by one matmul.

    So the states are read once, and where heads are split over devices their gradient is summed over these once.
    """
    parts = [params[name] for name in ("query", "key", "value")]
    joined = {name: jnp.stack([part[name] for part in parts], axis=-3) for name in parts[0]}
    y_BLNHK = dense(joined, x_BLD)
    return y_BLNHK[:, :, 0], y_BLNHK[:, :, 1], y_BLNHK[:, :, 2]


def attend(
    scores_BHLT: Array, v_BTHK: Array, *, allowed_B1LT: Array, rate: float, keys_B: Array | None
) -> tuple[Array, Array]:
    """softmax(scores) V (Vaswani et al. 2017, eq. 1; the scores are scaled already), with dropout of the
    probabilities: the values' average [B, L, H, K], and the probabilities [B, H, L, T] before dropout.

    The softmax is over the allowed keys, in float32.
    """
    floor = jnp.finfo(jnp.float32).min
    scores_BHLT = jnp.where(allowed_B1LT, scores_BHLT.astype(jnp.float32), floor)
    att_BHLT = jax.nn.softmax(scores_BHLT, axis=-1).astype(v_BTHK.dtype)
    return jnp.einsum("BHLT,BTHK->BLHK", dropout(att_BHLT, rate, keys_B), v_BTHK), att_BHLT


def _cudnn_attention(q_BLHK: Array, k_BTHK: Array, v_BTHK: Array, mask: AttentionMask) -> Array:
    """The same in one fused kernel. Padding as lengths costs no tensor; packing needs the whole mask."""
    if mask.lengths_B is not None:
        return jax.nn.dot_product_attention(
            q_BLHK, k_BTHK, v_BTHK, key_value_seq_lengths=mask.lengths_B, implementation="cudnn"
        )
    return jax.nn.dot_product_attention(
        q_BLHK, k_BTHK, v_BTHK, mask=mask.allowed_B1LT, implementation="cudnn"
    )
