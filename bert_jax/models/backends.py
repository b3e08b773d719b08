"""Which kernel computes attention: what `model.attention_backend=auto` stands for, on some hardware and at some length."""

from __future__ import annotations

import functools
import logging
from typing import Literal

import jax
from jax.sharding import get_abstract_mesh

from bert_jax.config.model import FUSED_HEAD_DIMS, PALLAS_LANES, ModelConfig
from bert_jax.models.fused import fits

Backend = Literal["xla", "cudnn", "pallas", "triton"]

_LONG = 256
"""The shortest rows that "auto" gives to the TPU kernel: at 128 scores move fewer bytes than the matmuls take time."""
_CUDNN_HEAD_DIM = 128
_log = logging.getLogger(__name__)


def backend_for(config: ModelConfig, length: int | jax.Array, *, drops: bool) -> Backend:
    """What computes attention over rows of `length` tokens on the devices that a program is traced for.

    drops: whether probabilities are dropped in this pass. A kernel that was asked for and does not take this length (an
    evaluation's, say) leaves it to XLA.
    """
    named, platform = config.attention_backend, _platform()
    if named == "pallas" or named == "triton":
        return named if fits(named, length, width=config.hidden_size) else "xla"
    if named != "auto":
        return named
    if platform == "cpu" or not isinstance(length, int):
        return "xla"
    heads = config.num_heads // get_abstract_mesh().shape.get("tensor", 1)
    chosen = automatic(config, length, heads=heads, drops=drops, platform=platform)
    _tell(chosen, length)
    return chosen


def automatic(config: ModelConfig, length: int, *, heads: int, drops: bool, platform: str) -> Backend:
    """What "auto" is on a platform: tpu, gpu (of NVIDIA, Ampere or newer), or any other. heads: of one device."""
    if config.positions not in ("absolute", "sinusoidal", "rotary"):
        return "xla"
    if platform == "tpu":
        in_groups = config.head_dim in FUSED_HEAD_DIMS and heads * config.head_dim % PALLAS_LANES == 0
        takes = in_groups and fits("pallas", length, width=config.hidden_size)
        return "pallas" if takes and length >= _LONG else "xla"
    if platform == "gpu":
        # Rows of odd lengths it does not train where it is given a mask, as packed rows need one.
        takes = config.head_dim % 8 == 0 and config.head_dim <= _CUDNN_HEAD_DIM and length % 2 == 0
        return "cudnn" if takes and config.dtype == "bfloat16" and not drops else "xla"
    return "xla"


@functools.cache
def _platform() -> str:
    """The platform of this process's devices; "other" for GPUs without the kernel."""
    platform = jax.default_backend()
    if platform != "gpu":
        return platform
    capability = getattr(jax.local_devices()[0], "compute_capability", None)
    return "gpu" if capability and float(capability) >= 8 else "other"


@functools.cache
def _tell(backend: Backend, length: int) -> None:
    _log.info("attention over rows of %d: %s (config.model.attention_backend)", length, backend)
