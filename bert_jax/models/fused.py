"""Attention in kernels: what is the same for each of them, over devices and in differentiation.

What goes through memory are queries, keys, values and the output, where attention by matmuls and a softmax moves some dozen
arrays [B, H, L, L]. The backward pass computes scores and probabilities again (Dao et al. 2022, "FlashAttention", section
3.1), and so the dropout mask.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import jax
from jax.sharding import AxisType, PartitionSpec

from bert_jax.config.model import PALLAS_LANES, PALLAS_ROW, TRITON_BLOCK
from bert_jax.models import fused_gpu, fused_tpu
from bert_jax.models.fused_kernel import FusedKernel
from bert_jax.models.layers import vector_words

Array = jax.Array
Fused = Literal["pallas", "triton"]
"""The kernels for TPUs and for NVIDIA GPUs."""


def fits(backend: Fused, length: int | Array, *, width: int) -> bool:
    """Whether a kernel takes rows of this length and hidden size; a symbol (`jax.export`) it does not."""
    if not isinstance(length, int):
        return False
    if backend == "triton":
        return length % TRITON_BLOCK == 0
    return length % PALLAS_LANES == 0 and length * width <= PALLAS_ROW


def fused_attention(
    backend: Fused,
    q_BLHK: Array,
    k_BLHK: Array,
    v_BLHK: Array,
    *,
    pack_ids_BL: Array,
    rate: float,
    keys_B: Array | None,
) -> Array:
    """softmax(q k) v over the keys of the query's own example: [B, L, H, K], as `attention.attend` gives it.

    q_BLHK: scaled. rate, keys_B: dropout of the probabilities, with the mask of `layers.dropout`. Over a mesh each device
    computes the rows and heads that it has.
    """
    batch, length, heads, head_dim = q_BLHK.shape
    q_BLD, k_BLD, v_BLD = (x.reshape(batch, length, heads * head_dim) for x in (q_BLHK, k_BLHK, v_BLHK))
    words_BNHL = None
    if keys_B is not None and rate > 0:
        words_BNHL = vector_words(jax.random.key_data(keys_B), (heads, length))
    kernel = {"pallas": fused_tpu.Kernel, "triton": fused_gpu.Kernel}[backend](
        rate=0.0 if words_BNHL is None else rate, head_dim=head_dim
    )
    attend = functools.partial(_attend, kernel)
    mesh = jax.sharding.get_abstract_mesh()
    if AxisType.Auto in mesh.axis_types:  # XLA splits what it knows; a kernel is split by hand
        rows = ("data", "fsdp")  # the axes of `training.parallel`
        by_rows, by_heads = PartitionSpec(rows), PartitionSpec(rows, None, "tensor")
        attend = jax.shard_map(
            attend, in_specs=(by_heads,) * 3 + (by_rows, by_heads), out_specs=by_heads, check_vma=False
        )
    return attend(q_BLD, k_BLD, v_BLD, pack_ids_BL, words_BNHL).reshape(q_BLHK.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(kernel: FusedKernel, q: Array, k: Array, v: Array, pack_ids: Array, words: Array | None) -> Array:
    return kernel.forward(q, k, v, pack_ids, words)[0]


def _forward(kernel: FusedKernel, *inputs: Any) -> tuple[Array, Any]:
    y, kept = kernel.forward(*inputs)
    return y, (inputs, kept)


def _backward(kernel: FusedKernel, saved: Any, grad: Array) -> tuple[Array | None, ...]:
    (q, k, v, pack_ids, words), kept = saved
    return (*kernel.backward(q, k, v, pack_ids, words, kept, grad), None, None)


_attend.defvjp(_forward, _backward)
