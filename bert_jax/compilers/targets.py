"""Machines that a step can be compiled for without having one, such as "v5e:4x4" or "h100:8".

The TPU compiler is the package libtpu (extra "tpu"), the GPU compiler the CUDA plugin of jax (extra "gpu"). Both read their
settings when jax starts: `environment` must be in force before jax is imported.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import re
from collections.abc import Sequence
from typing import Any

from bert_jax.chips import CHIPS, Chip
from bert_jax.errors import UsageError, UserError


@dataclasses.dataclass(frozen=True)
class Target:
    """So many chips of one kind, connected."""

    chip: Chip
    shape: tuple[int, ...]
    """chips along each axis of a TPU slice; (GPUs,)"""

    @property
    def count(self) -> int:
        """Chips."""
        return math.prod(self.shape)

    @property
    def memory_spaces(self) -> frozenset[int]:
        """Those of a module that are the chip's memory: on a TPU 1 is on the chip, on a GPU 1 and 2 are kinds of memory."""
        return frozenset({0}) if self.chip.platform == "tpu" else frozenset({0, 1, 2})

    @property
    def name(self) -> str:
        """As `parse` reads it."""
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"


def parse(text: str) -> Target:
    """The target of a name: CHIP:AxB of TPUs, with as many axes as their torus has, or CHIP:COUNT of GPUs.

    Raises:
      UsageError: an unknown chip, or a shape that its machines do not have.
    """
    name, _, shape = text.partition(":")
    chip = CHIPS.get(name)
    if chip is None:
        raise UsageError(f"--target {text!r}: {name!r} must be one of {', '.join(CHIPS)}")
    example = f"{name}:{'x'.join('2' * (chip.axes or 1))}"
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
        raise UsageError(f"--target {text!r} must say how many, as in {example}")
    sizes = tuple(int(size) for size in shape.split("x"))
    if len(sizes) != (chip.axes or 1):
        raise UsageError(f"--target {text!r} must have {chip.axes or 1} numbers, as in {example}")
    if chip.per_host and sizes[0] > chip.per_host and sizes[0] % chip.per_host:
        raise UsageError(
            f"--target {text!r}: {sizes[0]} must be a multiple of the {chip.per_host} GPUs of a host"
        )
    return Target(chip, sizes)


def check_compiler(target: Target) -> None:
    """Raises `UserError` where the compiler is not installed."""
    module, extra = {"tpu": ("libtpu", "tpu"), "cuda": ("jax_plugins.xla_cuda13", "gpu")}[
        target.chip.platform
    ]
    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise UserError(f"--target {target.name} needs its compiler: pip install 'bert_jax[{extra}]'")


def environment(target: Target) -> dict[str, str]:
    """Variables that must be set before jax is imported."""
    common = {"JAX_PLATFORMS": "cpu"}  # what is not compiled for the target runs here
    if target.chip.platform == "tpu":
        # Neither Google Cloud's metadata server nor other hosts are asked; errors about that are not ours.
        return common | {
            "TPU_SKIP_MDS_QUERY": "1",
            "TPU_WORKER_HOSTNAMES": "localhost",
            "TPU_WORKER_ID": "0",
            "TPU_ACCELERATOR_TYPE": "",
            "TPU_STDERR_LOG_LEVEL": "3",
            "TPU_MIN_LOG_LEVEL": "3",
            "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chip is taken, so others may compile meanwhile
        }
    # Without the card no kernel can be timed against another.
    return common | {"JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1", "XLA_FLAGS": "--xla_gpu_autotune_level=0"}


def devices(target: Target) -> Sequence[Any]:
    """The devices of a target, to compile for; in a process that has `environment` from its start.

    Raises:
      UsageError: the compiler knows no such slice.
    """
    from jax.experimental import topologies

    try:
        if target.chip.platform == "tpu":
            shape = "x".join(map(str, target.shape))
            return topologies.get_topology_desc(
                platform="tpu", topology_name=f"{target.chip.name}:{shape}"
            ).devices
        import jax

        jax.devices()  # brings the plugins up
        per_host = min(target.count, target.chip.per_host)
        return topologies.get_topology_desc(
            topology_name=target.chip.name,
            platform="cuda",
            target_config=_GPUS[target.chip.name],
            topology=f"1x{target.count // per_host}x{per_host}",
        ).devices
    except Exception as error:
        raise UsageError(f"--target {target.name}: the compiler says {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _gpu(
    *, name: str, capability: int, cores: int, shared: int, clock: float, bandwidth: int, l2: int, memory: int
) -> str:
    """XLA's description of a GPU (`stream_executor.GpuTargetConfigProto` as text), from CUDA's device properties."""
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_core: {shared} shared_memory_per_block_optin: {shared - 1024}
  core_count: {cores} clock_rate_ghz: {clock} memory_bandwidth: {bandwidth} l2_cache_size: {l2}
  device_memory_size: {memory} cuda_compute_capability {{ major: {capability} minor: 0 }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{name}"
"""


_GPUS: dict[str, str] = {
    "a100": _gpu(
        name="NVIDIA A100-SXM4-80GB", capability=8, cores=108, shared=167936, clock=1.41,
        bandwidth=2_039_000_000_000, l2=41_943_040, memory=85_094_825_984,
    ),
    "h100": _gpu(
        name="NVIDIA H100 80GB HBM3", capability=9, cores=132, shared=233472, clock=1.98,
        bandwidth=3_352_320_000_000, l2=52_428_800, memory=84_942_979_072,
    ),
    "h200": _gpu(
        name="NVIDIA H200", capability=9, cores=132, shared=233472, clock=1.98,
        bandwidth=4_800_000_000_000, l2=62_914_560, memory=150_754_820_096,
    ),
}  # fmt: skip
