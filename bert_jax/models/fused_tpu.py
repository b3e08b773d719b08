"""Attention in one kernel for TPUs: scores and probabilities stay on the chip, in both directions, dropout included.

A row of scores fits the chip's memory whole up to the lengths that encoders are pretrained with, so the softmax is the plain
one.

Arrays are [B, L, D], heads side by side. The lanes of a TPU hold 128 numbers: of a group of them one head is taken at a time
by setting the other heads' queries, or outputs, to zero. Axes: Q the queries of a block, G the 128 numbers of a group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from bert_jax.config.model import PALLAS_LANES as _LANES
from bert_jax.models.fused_kernel import FusedKernel
from bert_jax.models.layers import finalized

Array = jax.Array

_VMEM_BYTES = 64 * 2**20


class Kernel(FusedKernel):
    """The two kernels of one configuration. The grid is (rows, blocks of queries); a step sees all keys of its row."""

    def forward(
        self, q: Array, k: Array, v: Array, pack_ids: Array, words: Array | None
    ) -> tuple[Array, tuple[()]]:
        """The output [B, L, D]; the backward pass needs the inputs alone."""
        [y] = self._call(
            self._forward_step, (q,), (k, v), pack_ids, words, products=2, out=((q,), ()), scratch=0
        )
        return y, ()

    def backward(
        self,
        q: Array,
        k: Array,
        v: Array,
        pack_ids: Array,
        words: Array | None,
        kept: tuple[()],
        grad: Array,
    ) -> tuple[Array, Array, Array]:
        """The gradients of q, k and v, that of the output being `grad`."""
        del kept
        return self._call(
            self._backward_step, (q, grad), (k, v), pack_ids, words, products=5, out=((q,), (k, v)), scratch=2
        )

    def _call(
        self, step: Callable[..., None], blocked: Any, whole: Any, pack_ids: Array, words: Array | None, *,
        products: int, out: Any, scratch: int,
    ) -> Any:  # fmt: skip
        """`blocked` arrays come by blocks of queries, `whole` ones by rows; `out`: arrays like the results of each kind."""
        batch, length, width = blocked[0].shape
        of_block = pl.BlockSpec((1, _LANES, width), lambda b, i: (b, i, 0))
        of_row = pl.BlockSpec((1, length, width), lambda b, i: (b, 0, 0))
        ids = pack_ids[:, None]
        inputs = [*blocked, *whole, ids, ids]
        specs = [of_block] * len(blocked) + [of_row] * len(whole)
        specs += [
            pl.BlockSpec((1, 1, _LANES), lambda b, i: (b, 0, i)),
            pl.BlockSpec((1, 1, length), lambda b, i: (b, 0, 0)),
        ]
        if words is not None:
            pairs = 2 * words.shape[2]
            inputs.append(words.reshape(batch, pairs, length))
            specs.append(pl.BlockSpec((1, pairs, _LANES), lambda b, i: (b, 0, i)))
        results = [jax.ShapeDtypeStruct(x.shape, x.dtype) for kind in out for x in kind]
        moved = sum(x.size * x.dtype.itemsize for x in (*inputs, *results))
        scores = batch * (width // self.head_dim) * length * length
        return pl.pallas_call(
            step,
            grid=(batch, length // _LANES),
            in_specs=specs,
            out_specs=[of_block] * len(out[0]) + [of_row] * len(out[1]),
            out_shape=results,
            scratch_shapes=[pltpu.VMEM((length, width), jnp.float32)] * scratch,
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=_VMEM_BYTES
            ),
            cost_estimate=pl.CostEstimate(
                flops=2 * products * scores * self.head_dim, bytes_accessed=moved, transcendentals=scores
            ),
            interpret=self.interpret,
            name="attention",
        )(*inputs)

    # A step of the grid ---------------------------------------------------------------------------------

    def _forward_step(
        self, q_ref: Any, k_ref: Any, v_ref: Any, query_ids: Any, key_ids: Any, *rest: Any
    ) -> None:
        *words, y_ref = rest
        allowed_QL = _allowed(query_ids[0], key_ids[0])

        def group(number: Array, _: None) -> None:
            at = _group(number)
            q_QG, k_LG, v_LG = q_ref[0, :, at], k_ref[0, :, at], v_ref[0, :, at]
            y_QG = jnp.zeros(q_QG.shape, jnp.float32)
            for head in range(_LANES // self.head_dim):
                p_QL = self._probabilities(self._of(head, q_QG), k_LG, allowed_QL).astype(v_LG.dtype)
                p_QL = self._dropped(p_QL, words, number, head)
                y_QG += self._of(head, _product(p_QL, v_LG))
            y_ref[0, :, at] = y_QG.astype(y_ref.dtype)

        jax.lax.fori_loop(0, q_ref.shape[2] // _LANES, group, None)

    def _backward_step(
        self, q_ref: Any, grad_ref: Any, k_ref: Any, v_ref: Any, query_ids: Any, key_ids: Any, *rest: Any
    ) -> None:
        *words, dq_ref, dk_ref, dv_ref, dk_sum, dv_sum = rest
        allowed_QL = _allowed(query_ids[0], key_ids[0])

        @pl.when(pl.program_id(1) == 0)
        def _() -> None:
            dk_sum[...] = jnp.zeros_like(dk_sum)
            dv_sum[...] = jnp.zeros_like(dv_sum)

        def group(number: Array, _: None) -> None:
            at = _group(number)
            q_QG, k_LG, v_LG, dy_QG = q_ref[0, :, at], k_ref[0, :, at], v_ref[0, :, at], grad_ref[0, :, at]
            dq_QG = jnp.zeros(q_QG.shape, jnp.float32)
            for head in range(_LANES // self.head_dim):
                q_head, dy_head = self._of(head, q_QG), self._of(head, dy_QG)
                p_QL = self._probabilities(q_head, k_LG, allowed_QL)
                dropped_QL = self._dropped(p_QL.astype(v_LG.dtype), words, number, head)
                dv_sum[:, at] += _product(dropped_QL, dy_head, transposed="left")
                dp_QL = self._dropped(_product(dy_head, v_LG, transposed="right"), words, number, head)
                ds_QL = p_QL * (dp_QL - (dp_QL * p_QL).sum(axis=1, keepdims=True))
                ds_QL = jnp.where(allowed_QL, ds_QL, 0.0).astype(k_LG.dtype)
                dq_QG += self._of(head, _product(ds_QL, k_LG))
                dk_sum[:, at] += _product(ds_QL, q_head, transposed="left")
            dq_ref[0, :, at] = dq_QG.astype(dq_ref.dtype)

        jax.lax.fori_loop(0, q_ref.shape[2] // _LANES, group, None)

        @pl.when(pl.program_id(1) == pl.num_programs(1) - 1)
        def _() -> None:
            dk_ref[0] = dk_sum[...].astype(dk_ref.dtype)
            dv_ref[0] = dv_sum[...].astype(dv_ref.dtype)

    def _of(self, head: int, x_QG: Array) -> Array:
        """One head's numbers of a group, those of the others set to zero."""
        lanes = jax.lax.broadcasted_iota(jnp.int32, x_QG.shape, 1)
        first = head * self.head_dim
        is_own = (lanes >= first) & (lanes < first + self.head_dim)
        return jnp.where(is_own, x_QG, jnp.zeros((), x_QG.dtype))

    def _probabilities(self, q_QG: Array, k_LG: Array, allowed_QL: Array) -> Array:
        scores_QL = jnp.where(
            allowed_QL, _product(q_QG, k_LG, transposed="right"), jnp.finfo(jnp.float32).min
        )
        weights_QL = jnp.exp(scores_QL - scores_QL.max(axis=1, keepdims=True))
        return weights_QL / weights_QL.sum(axis=1, keepdims=True)

    def _dropped(self, x_QL: Array, words: Any, group: Array, head: int) -> Array:
        """With the dropout mask of the block's queries; see `layers.dropout`."""
        if not words:
            return x_QL
        [words_ref] = words
        heads = words_ref.shape[1] // 2
        row = group * (_LANES // self.head_dim) + head
        first_Q1, second_Q1 = (_column(words_ref[0, pl.ds(row + part * heads, 1), :]) for part in (0, 1))
        places_QL = jax.lax.broadcasted_iota(jnp.int32, x_QL.shape, 1).astype(jnp.uint32)
        kept_QL = finalized(first_Q1, second_Q1, places_QL) >= np.uint32(round(self.rate * 2**32))
        return jnp.where(
            kept_QL, x_QL * jnp.asarray(1 / (1 - self.rate), x_QL.dtype), jnp.zeros((), x_QL.dtype)
        )


def _group(number: Array) -> Any:
    return pl.ds(pl.multiple_of(number * _LANES, _LANES), _LANES)


def _product(a: Array, b: Array, *, transposed: str = "") -> Array:
    """a b in float32, with the transpose of the one named."""
    of_a, of_b = {"": (1, 0), "left": (0, 0), "right": (1, 1)}[transposed]
    return jax.lax.dot_general(a, b, (((of_a,), (of_b,)), ((), ())), preferred_element_type=jnp.float32)


def _column(row_1Q: Array) -> Array:
    """[1, Q] as [Q, 1]: the diagonal of its copies, as lanes cannot be moved to sublanes otherwise."""
    size = row_1Q.shape[1]
    rows, columns = (jax.lax.broadcasted_iota(jnp.int32, (size, size), axis) for axis in (0, 1))
    numbers = jax.lax.bitcast_convert_type(row_1Q, jnp.int32)
    column_Q1 = jnp.where(rows == columns, numbers, 0).sum(axis=1, keepdims=True)
    return jax.lax.bitcast_convert_type(column_Q1, row_1Q.dtype)


def _allowed(query_ids_1Q: Array, key_ids_1L: Array) -> Array:
    """Which keys the block's queries attend to, [Q, L]: see `attention.attention_mask`."""
    ids_Q1 = _column(query_ids_1Q)
    return (key_ids_1L > 0) & ((ids_Q1 == key_ids_1L) | (ids_Q1 == 0))
