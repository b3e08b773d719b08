"""What a student learns from a teacher's attention: its scores, its distributions, and how queries, keys or values relate
to their like (TinyBERT, Jiao et al. 2020; MiniLM, Wang et al. 2020; MiniLMv2, Wang et al. 2021).

Axis A: relation heads, in place of H; T the L of keys. Every function gives a loss for each query, float32 [B, L].
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bert_jax.objectives.soft_targets import kl

Array = jax.Array

_FLOOR = -1e30
"""The log probability of a key of another example: far below any, and finite, so that 0 x it is 0."""


def scores_error(student_BHLT: Array, teacher_BHLT: Array, pairs_BLT: Array) -> Array:
    """The sum over keys of squared differences of attention scores before the softmax, mean over heads (Jiao et al.
    2020, eq. 7), [B, L].

    pairs_BLT: bool, which pairs count.
    """
    errors_BHLT = jnp.square(student_BHLT.astype(jnp.float32) - teacher_BHLT.astype(jnp.float32))
    return jnp.sum(jnp.where(pairs_BLT[:, None], errors_BHLT, 0), axis=-1).mean(axis=1)


def attention_divergence(student_BHLT: Array, teacher_BHLT: Array) -> Array:
    """KL(teacher || student) of attention distributions, mean over heads (Wang et al. 2020, eq. 4): of the probabilities
    of a softmax over the keys of the same example."""
    tiny = jnp.finfo(jnp.float32).tiny
    log_p_BHLT = jnp.log(jnp.maximum(teacher_BHLT.astype(jnp.float32), tiny))
    log_q_BHLT = jnp.log(jnp.maximum(student_BHLT.astype(jnp.float32), tiny))
    return kl(log_p_BHLT, log_q_BHLT).mean(axis=1)


def relation_divergence(student_BLHK: Array, teacher_BLHK: Array, pairs_BLT: Array, *, heads: int) -> Array:
    """KL(teacher || student) of the relations of queries, keys or values, mean over `heads` relation heads (Wang et al.
    2021, eq. 4 to 6). The two may differ in heads and in width.

    pairs_BLT: bool, the keys of each query's own example.
    """
    log_p_BALT = relation(teacher_BLHK, pairs_BLT, heads=heads)
    log_q_BALT = relation(student_BLHK, pairs_BLT, heads=heads)
    return kl(log_p_BALT, log_q_BALT).mean(axis=1)


def relation(x_BLHK: Array, pairs_BLT: Array, *, heads: int) -> Array:
    """log softmax(X X^T / sqrt(width of a relation head)) over the keys of the same example, float32 [B, A, L, T].

    The heads of X are put together and cut anew into `heads`.
    """
    batch, length, *sizes = x_BLHK.shape
    width = sizes[0] * sizes[1] // heads
    x_BLAK = x_BLHK.astype(jnp.float32).reshape(batch, length, heads, width)
    scores_BALT = jnp.einsum("BLAK,BTAK->BALT", x_BLAK * width**-0.5, x_BLAK)
    return jax.nn.log_softmax(jnp.where(pairs_BLT[:, None], scores_BALT, _FLOOR))
