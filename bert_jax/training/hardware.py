"""What the devices of a run could compute at most."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from bert_jax.chips import CHIPS

# Dense bf16 matrix rate of one device as jax counts them, FLOP/s, by the start of `device_kind`.
# Those that are not in the table of chips, from the vendors' datasheets.
_PEAKS: dict[str, float] = {chip.kind: chip.matrix_flops for chip in CHIPS.values()} | {
    "NVIDIA L4": 121e12,
    "Tesla V100": 125e12,
    "TPU v3": 61.5e12,
    "TPU v2": 22.5e12,
}


def peak_flops(devices: Sequence[jax.Device]) -> tuple[float, str]:
    """FLOP/s of `devices` together and where the figure is from: the datasheet's bf16 rate where the
    device is known, else the rate of a large float32 matrix product measured here and now."""
    kind, processes = devices[0].device_kind, len({device.process_index for device in devices})
    known = next((peak for name, peak in _PEAKS.items() if kind.startswith(name)), None)
    if known:
        return known * len(devices), f"{len(devices)} x {kind}, datasheet bf16"
    # Virtual CPU devices share the same cores: one product already uses all of them.
    count = processes if devices[0].platform == "cpu" else len(devices)
    local = next(device for device in devices if device.process_index == jax.process_index())
    return _measured_peak(local) * count, f"{kind}, measured float32 matrix product"


@functools.cache
def _measured_peak(device: jax.Device, size: int = 1536) -> float:
    matrix = jax.device_put(jnp.ones((size, size), jnp.float32), device)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)
