"""The chips that are known, and what each can do: one table, for utilisation as for what is compiled for them."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Chip:
    """What one device of jax can do at most; rates are for a second."""

    name: str
    kind: str
    """how jax's `device_kind` begins"""
    platform: Literal["tpu", "cuda"]
    matrix_flops: float
    """dense bf16, a multiplication and an addition counting as two"""
    vector_ops: float
    """elementwise operations in 32 bits"""
    memory_bytes: float
    memory_rate: float
    """bytes read and written"""
    link_rate: float
    """bytes that a chip sends in a ring over the chips of its host or slice"""
    network_rate: float
    """bytes that a chip sends to other hosts; of TPUs the same links"""
    axes: int = 0
    """of a slice's shape"""
    per_host: int = 0
    """chips that share the fast links; 0: all"""


# TPU: Google Cloud's page of each version (matrix rate, memory, bandwidth), and for links one axis of the torus in both
# directions (Austin et al. 2025, "How to Scale Your Model"). No document gives a TPU's vector rate: it is estimated as
# 8 x 128 lanes of four units a core, at the clock that gives the matrix rate with four matrix units of 128 x 128 a core
# (of v6e 256 x 256); v4 and v5p have two cores.
# GPU: NVIDIA's datasheets of the SXM modules; the vector rate is SMs x 128 x clock, half of the float32 FLOP/s; links are
# NVLink one way; network 400 (A100: 200) Gbit/s for each GPU, as in DGX systems.
CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip("v4", "TPU v4", "tpu", 275e12, 8.6e12, 32 * 2**30, 1228e9, 90e9, 90e9, axes=3),
        Chip("v5e", "TPU v5 lite", "tpu", 197e12, 6.1e12, 16 * 2**30, 819e9, 90e9, 90e9, axes=2),
        Chip("v5p", "TPU v5p", "tpu", 459e12, 14.3e12, 95 * 2**30, 2765e9, 180e9, 180e9, axes=3),
        Chip("v6e", "TPU v6", "tpu", 918e12, 7.2e12, 32 * 2**30, 1640e9, 180e9, 180e9, axes=2),
        Chip("a100", "NVIDIA A100", "cuda", 312e12, 9.7e12, 80e9, 2039e9, 300e9, 25e9, per_host=8),
        Chip("h100", "NVIDIA H100", "cuda", 989e12, 33.5e12, 80e9, 3352e9, 450e9, 50e9, per_host=8),
        Chip("h200", "NVIDIA H200", "cuda", 989e12, 33.5e12, 141e9, 4800e9, 450e9, 50e9, per_host=8),
    )
}
