"""Attention in kernels for NVIDIA GPUs, through Triton: scores and probabilities never reach memory, dropout included.

A block of queries meets one block of keys after another, and the softmax is made on the way (Dao et al. 2022,
"FlashAttention", algorithms 1 and 4). The backward pass computes probabilities again from the logarithms of their sums,
which the forward pass keeps: one kernel sums over queries for keys and values, another over keys for queries. cuDNN's own
dropout is not taken: its mask would belong to a place on the device, not to the example.

A step of the grid has one head of one row. Axes: Q the queries of a block, T its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from bert_jax.config.model import TRITON_BLOCK as _BLOCK
from bert_jax.models.fused_kernel import FusedKernel
from bert_jax.models.layers import finalized

Array = jax.Array

_FLOOR = float(np.finfo(np.float32).min)


class Kernel(FusedKernel):
    """The three kernels of one configuration. Their grid is (blocks, rows, heads)."""

    def forward(
        self, q: Array, k: Array, v: Array, pack_ids: Array, words: Array | None
    ) -> tuple[Array, tuple[Array, Array]]:
        """The output [B, L, D], and what `backward` needs of this pass."""
        q_BLHK, k_BLHK, v_BLHK = map(self._by_heads, (q, k, v))
        batch, length, heads, _ = q_BLHK.shape
        y_BLHK, log_sums_BHL = self._call(
            self._forward_step,
            blocked={"q": q_BLHK, "query_ids": pack_ids, **_named(words)},
            whole={"k": k_BLHK, "v": v_BLHK, "key_ids": pack_ids},
            out={"y": q_BLHK, "log_sums": jax.ShapeDtypeStruct((batch, heads, length), jnp.float32)},
        )
        y = y_BLHK.reshape(q.shape)
        return y, (y, log_sums_BHL)

    def backward(
        self,
        q: Array,
        k: Array,
        v: Array,
        pack_ids: Array,
        words: Array | None,
        kept: tuple[Array, Array],
        grad: Array,
    ) -> tuple[Array, Array, Array]:
        """The gradients of q, k and v, that of the output being `grad`."""
        y, log_sums_BHL = kept
        q_BLHK, k_BLHK, v_BLHK, y_BLHK, dy_BLHK = map(self._by_heads, (q, k, v, y, grad))
        # Sums over keys of p dp, which are those of y dy over the numbers of a head, with dropout too.
        shifts_BHL = jnp.einsum("BLHK,BLHK->BHL", y_BLHK, dy_BLHK, preferred_element_type=jnp.float32)
        queries = {
            "q": q_BLHK, "dy": dy_BLHK, "log_sums": log_sums_BHL, "shifts": shifts_BHL, "query_ids": pack_ids,
            **_named(words),
        }  # fmt: skip
        keys = {"k": k_BLHK, "v": v_BLHK, "key_ids": pack_ids}
        dk, dv = self._call(self._keys_step, blocked=keys, whole=queries, out={"dk": k_BLHK, "dv": v_BLHK})
        (dq,) = self._call(self._queries_step, blocked=queries, whole=keys, out={"dq": q_BLHK})
        return dq.reshape(q.shape), dk.reshape(k.shape), dv.reshape(v.shape)

    def _by_heads(self, x_BLD: Array) -> Array:
        """[B, L, H, K]"""
        return x_BLD.reshape(*x_BLD.shape[:2], -1, self.head_dim)

    def _call(
        self,
        step: Callable[[Any], None],
        *,
        blocked: Mapping[str, Array],
        whole: Mapping[str, Array],
        out: Mapping[str, Any],
    ) -> Any:
        """`blocked` arrays and results come by blocks of the length L, `whole` ones by rows; `out`: arrays like the results."""
        inputs = {**blocked, **whole}
        names = (*inputs, *out)
        batch, length, heads, _ = blocked[next(iter(blocked))].shape
        results = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in out.values()]
        return pl.pallas_call(
            lambda *refs: step(SimpleNamespace(**dict(zip(names, refs, strict=True)))),
            grid=(length // _BLOCK, batch, heads),
            in_specs=[_spec(x, is_blocked=name in blocked) for name, x in inputs.items()],
            out_specs=[_spec(x, is_blocked=True) for x in out.values()],
            out_shape=results,
            compiler_params=triton.CompilerParams(num_warps=4, num_stages=2),
            interpret=self.interpret,
            name="attention",
        )(*inputs.values())

    # A step of the grid ---------------------------------------------------------------------------------

    def _forward_step(self, at: Any) -> None:
        q_QK, ids_Q = at.q[...], at.query_ids[...]

        def block(number: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            y_QK, top_Q, sums_Q = carry
            keys = pl.ds(number * _BLOCK, _BLOCK)
            scores_QT = _scores(q_QK, at.k[keys, :], ids_Q, at.key_ids[keys])
            new_top_Q = jnp.maximum(top_Q, scores_QT.max(axis=1))
            fade_Q = jnp.exp(top_Q - new_top_Q)
            weights_QT = jnp.exp(scores_QT - new_top_Q[:, None])
            sums_Q = sums_Q * fade_Q + weights_QT.sum(axis=1)
            weights_QT = self._dropped(weights_QT, at, slice(None), number)
            v_TK = at.v[keys, :]
            y_QK = y_QK * fade_Q[:, None] + triton.dot(weights_QT.astype(v_TK.dtype), v_TK)
            return y_QK, new_top_Q, sums_Q

        start = (
            jnp.zeros(q_QK.shape, jnp.float32), jnp.full(_BLOCK, _FLOOR, jnp.float32), jnp.zeros(_BLOCK, jnp.float32)
        )  # fmt: skip
        y_QK, top_Q, sums_Q = jax.lax.fori_loop(0, at.k.shape[0] // _BLOCK, block, start)
        at.y[...] = (y_QK / sums_Q[:, None]).astype(at.y.dtype)
        at.log_sums[...] = top_Q + jnp.log(sums_Q)

    def _keys_step(self, at: Any) -> None:
        k_TK, v_TK, ids_T, own = at.k[...], at.v[...], at.key_ids[...], pl.program_id(0)

        def block(number: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            dk_TK, dv_TK = carry
            queries = pl.ds(number * _BLOCK, _BLOCK)
            q_QK, dy_QK = at.q[queries, :], at.dy[queries, :]
            p_QT = jnp.exp(_scores(q_QK, k_TK, at.query_ids[queries], ids_T) - at.log_sums[queries][:, None])
            dropped_QT = self._dropped(p_QT, at, queries, own).astype(dy_QK.dtype)
            dv_TK += triton.dot(dropped_QT.T, dy_QK)
            ds_QT = self._scores_gradient(p_QT, v_TK, dy_QK, at, queries, own)
            dk_TK += triton.dot(ds_QT.T.astype(q_QK.dtype), q_QK)
            return dk_TK, dv_TK

        start = (jnp.zeros(k_TK.shape, jnp.float32), jnp.zeros(k_TK.shape, jnp.float32))
        dk_TK, dv_TK = jax.lax.fori_loop(0, at.q.shape[0] // _BLOCK, block, start)
        at.dk[...] = dk_TK.astype(at.dk.dtype)
        at.dv[...] = dv_TK.astype(at.dv.dtype)

    def _queries_step(self, at: Any) -> None:
        q_QK, dy_QK, ids_Q, log_sums_Q = at.q[...], at.dy[...], at.query_ids[...], at.log_sums[...]

        def block(number: Array, dq_QK: Array) -> Array:
            keys = pl.ds(number * _BLOCK, _BLOCK)
            k_TK = at.k[keys, :]
            p_QT = jnp.exp(_scores(q_QK, k_TK, ids_Q, at.key_ids[keys]) - log_sums_Q[:, None])
            ds_QT = self._scores_gradient(p_QT, at.v[keys, :], dy_QK, at, slice(None), number)
            return dq_QK + triton.dot(ds_QT.astype(k_TK.dtype), k_TK)

        dq_QK = jax.lax.fori_loop(0, at.k.shape[0] // _BLOCK, block, jnp.zeros(q_QK.shape, jnp.float32))
        at.dq[...] = dq_QK.astype(at.dq.dtype)

    def _scores_gradient(
        self, p_QT: Array, v_TK: Array, dy_QK: Array, at: Any, queries: Any, keys_block: Array
    ) -> Array:
        dp_QT = self._dropped(triton.dot(dy_QK, v_TK.T), at, queries, keys_block)
        return p_QT * (dp_QT - at.shifts[queries][:, None])

    def _dropped(self, x_QT: Array, at: Any, queries: Any, keys_block: Array) -> Array:
        """With the dropout mask of these queries and this block of keys; see `layers.dropout`."""
        if not self.rate:
            return x_QT
        first_Q1, second_Q1 = (words[queries][:, None] for words in (at.first, at.second))
        places_1T = (keys_block * _BLOCK + jnp.arange(_BLOCK, dtype=jnp.int32))[None].astype(jnp.uint32)
        kept_QT = finalized(first_Q1, second_Q1, places_1T) >= np.uint32(round(self.rate * 2**32))
        return jnp.where(kept_QT, x_QT * (1 / (1 - self.rate)), 0.0)


def _scores(q_QK: Array, k_TK: Array, ids_Q: Array, ids_T: Array) -> Array:
    """float32; least where `attention.attention_mask` does not let a query attend."""
    allowed_QT = (ids_T > 0)[None] & ((ids_Q[:, None] == ids_T[None]) | (ids_Q == 0)[:, None])
    return jnp.where(allowed_QT, triton.dot(q_QK, k_TK.T), _FLOOR)


def _named(words_BNHL: Array | None) -> dict[str, Array]:
    """The two words of each query for dropout, [B, H, L]."""
    return {} if words_BNHL is None else {"first": words_BNHL[:, 0], "second": words_BNHL[:, 1]}


def _spec(x: Any, *, is_blocked: bool) -> pl.BlockSpec:
    """One row and head of [B, L, H, K], [B, H, L] or [B, L]."""
    axes = {4: "BLHK", 3: "BHL", 2: "BL"}[len(x.shape)]
    size = _BLOCK if is_blocked else x.shape[axes.index("L")]
    shape = {"B": None, "H": None, "L": size, "K": x.shape[-1]}

    def place(block: Array, row: Array, head: Array) -> tuple[Any, ...]:
        places = {"B": row, "H": head, "L": block if is_blocked else 0, "K": 0}
        return tuple(places[axis] for axis in axes)

    return pl.BlockSpec(tuple(shape[axis] for axis in axes), place)
