"""Measures the training step on synthetic batches of the configured shape."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import jax

from bert_jax.benchmarks import huggingface
from bert_jax.benchmarks.synthetic import synthetic
from bert_jax.benchmarks.timing import calls_per_second, peak_memory
from bert_jax.config import PretrainConfig
from bert_jax.config.phases import phases
from bert_jax.tasks.choose import task_of
from bert_jax.training.hardware import peak_flops
from bert_jax.training.trainer import Trainer


def measure(
    config: PretrainConfig, *, seconds: float, repeats: int, baseline: Literal["hf"] | None = None
) -> dict[str, Any]:
    """Speed, MFU, memory and compile time of the step of the last phase: the median of `repeats` measurements of `seconds`.

    baseline: hf measures Hugging Face's PyTorch step in turns with it and adds their ratio.

    Raises:
      ConfigError: the baseline has no such step.
      UserError: the baseline is not installed.
    """
    if baseline == "hf":
        huggingface.check_step(config)  # before minutes of compilation
    task = task_of(phases(config)[-1].config)
    config, [phase] = task.config, task.phases
    trainer = Trainer.of(task, config)
    state = trainer.new_state()
    host_batch = synthetic(config, config.train.batch_size)
    start = time.perf_counter()
    compiled = trainer.compile_train(phase, state, host_batch)
    compile_seconds = time.perf_counter() - start
    batch = trainer.plan.place(host_batch)

    def native_step() -> None:
        nonlocal state
        state, sums = compiled(state, batch)
        jax.block_until_ready(sums)

    calls: dict[str, Callable[[], None]] = {"native": native_step}
    if baseline == "hf":
        calls["hf"] = huggingface.torch_step(config, host_batch)
    rates = calls_per_second(calls, seconds=seconds, repeats=repeats)
    size, length = config.train.batch_size, config.data.sequence_length
    sequences = {name: rate * size for name, rate in rates.items()}
    peak, peak_source = peak_flops(jax.devices())
    values: dict[str, Any] = {
        "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
        "model": config.model.preset,
        "dtype": config.model.dtype,
        "batch": [size, length],
        "step_ms": 1000 / rates["native"],
        "sequences_per_s": sequences["native"],
        "tokens_per_s": sequences["native"] * length,
        "mfu": rates["native"] * phase.flops / peak,
        "mfu_of": f"{peak / 1e12:.4g} TFLOP/s ({peak_source})",
        "compile_s": compile_seconds,
        **peak_memory(compiled.compile(state, batch)),
    }
    if baseline:
        values |= {
            f"{baseline}_sequences_per_s": sequences[baseline],
            "ratio": sequences["native"] / sequences[baseline],
        }
    return values
