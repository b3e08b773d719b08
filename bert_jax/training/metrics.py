"""What a run reports: FLOPs, throughput, metrics.jsonl and TensorBoard events."""

from __future__ import annotations

import functools
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.config import Config
from bert_jax.config.electra import discriminator_config, generator_config
from bert_jax.errors import UserError
from bert_jax.models.flops import training_flops

# Dense bf16 matrix rate of one device as jax counts them, FLOP/s, by the start of `device_kind`.
# From the vendors' datasheets.
_PEAKS: dict[str, float] = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100": 989e12,
    "NVIDIA A100": 312e12,
    "NVIDIA L4": 121e12,
    "Tesla V100": 125e12,
    "TPU v6": 918e12,
    "TPU v5p": 459e12,
    "TPU v5 lite": 197e12,
    "TPU v4": 275e12,
    "TPU v3": 61.5e12,
    "TPU v2": 22.5e12,
}


def flops_per_sequence(config: Config) -> float:
    """Model FLOPs to train on one row (see `training_flops`): of replaced-token detection, both encoders'."""
    flops = functools.partial(
        training_flops, length=config.data.sequence_length, slots=config.masking.max_predictions
    )
    if config.objective.name == "rtd":
        generator = generator_config(config.model, config.objective)
        return flops(generator, heads=("mlm",)) + flops(discriminator_config(config.model), heads=("rtd",))
    return flops(config.model, heads=("mlm",))


def peak_flops(devices: list[Any]) -> tuple[float, str]:
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
def _measured_peak(device: Any, size: int = 1536) -> float:
    matrix = jax.device_put(jnp.ones((size, size), jnp.float32), device)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


class Stopwatch:
    """Seconds spent in training steps since the last reading; evaluation and checkpoints are paused out."""

    def __init__(self) -> None:
        self._total = 0.0
        self._since = time.perf_counter()

    def pause(self) -> None:
        self._total += time.perf_counter() - self._since

    def resume(self) -> None:
        self._since = time.perf_counter()

    def read(self) -> float:
        """Seconds since the last reading; starts anew."""
        self.pause()
        self.resume()
        total, self._total = self._total, 0.0
        return total


class MetricsLog:
    """metrics.jsonl, one object a line, and TensorBoard events with the same numbers.

    Opening it for a run resumed at step s drops every line after s, so each step is left once; for one
    that starts anew (None) it drops all, such as the first lines of a run killed before it saved.
    """

    def __init__(self, workdir: Path, *, resume_step: int | None):
        from tensorboardX import SummaryWriter

        self._path = workdir / "metrics.jsonl"
        last = -1 if resume_step is None else resume_step
        kept = [line for line in read_metrics(self._path) if line["step"] <= last]
        partial = self._path.with_name("metrics.jsonl.partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        partial.replace(self._path)
        self._file = self._path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=last + 1)

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Appends one line; it is on disk before anything that follows."""
        line = {"step": step, "split": split, **{k: _rounded(v) for k, v in values.items()}}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        for name, value in values.items():
            self._events.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        self._events.close()


class NoLog:
    """What the processes write to that do not write."""

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl. A last line cut short by a kill is left out.

    Raises:
      UserError: any other line is not a JSON object with `step` and `split`.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    parsed = []
    for number, line in enumerate(lines, 1):
        try:
            parsed.append(_metric_line(line)) if line else None
        except ValueError as error:
            if number == len(lines):  # no newline at its end: the writer was cut off
                break
            raise UserError(f"{path}:{number}: not a line of metrics: {error}") from None
    return parsed


def _metric_line(line: str) -> dict[str, Any]:
    value = json.loads(line)
    if not (isinstance(value, dict) and {"step", "split"} <= value.keys()):
        raise ValueError("it must be an object with step and split")
    return value


def _rounded(value: float) -> float:
    """Seven significant digits, all that float32 has; counts as they are."""
    return float(f"{value:.7g}") if isinstance(value, float) and math.isfinite(value) else value
