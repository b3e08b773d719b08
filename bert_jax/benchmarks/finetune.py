"""Measures fine-tuning: steps a second over a run's own batches, packed and padded, beside Hugging Face's model."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import tempfile
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from bert_jax import hub
from bert_jax.benchmarks import huggingface
from bert_jax.benchmarks.huggingface_tasks import finetune_step
from bert_jax.benchmarks.timing import calls_per_second
from bert_jax.config import FinetuneConfig
from bert_jax.config.finetune import Batching
from bert_jax.config.head import OF_TEXTS
from bert_jax.errors import ConfigError
from bert_jax.interop.save import save_hf
from bert_jax.tasks.finetune import open_task, start_from
from bert_jax.training.trainer import Trainer

_STEPS = 64
"""Steps whose batches are timed, again and again."""


def measure(
    config: FinetuneConfig, init: str, *, seconds: float, repeats: int, baseline: Literal["hf"] | None = None
) -> dict[str, Any]:
    """Steps a second with each config.task.batching, the making of batches included, and how full their rows are; the
    median of `repeats` measurements of `seconds`, in turns.

    baseline: hf measures Hugging Face's model on the same examples too, and adds the ratio of config.task.batching
    to it.

    Raises:
      ConfigError: the baseline has no such task.
      UserError: the model or the data cannot be read, or the baseline is not installed.
    """
    if baseline:
        if config.task.kind not in OF_TEXTS:
            raise ConfigError(
                [f"--baseline hf: config.task.kind={config.task.kind!r} must be one of {', '.join(OF_TEXTS)}"]
            )
        huggingface.installed()
    calls: dict[str, Callable[[], None]] = {}
    values: dict[str, Any] = {
        "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
        "examples": config.train.batch_size,
    }
    chosen: Batching = config.task.batching
    others = [batching for batching in typing.get_args(Batching) if batching != chosen]
    with tempfile.TemporaryDirectory(prefix="bert_jax-") as folder:
        for batching in (chosen, *others):
            task = dataclasses.replace(config.task, batching=batching)
            run = _Run(dataclasses.replace(config, task=task), init)
            calls[batching] = run.step
            values |= {f"{batching}_{name}": value for name, value in run.compiled_shapes().items()}
            if baseline and batching == chosen:
                out = Path(folder) / "hf"
                save_hf(out, run.params, config=run.task.model, tokenizer=run.task.tokenizer)
                calls["hf"] = finetune_step(run.task.config, out, run.features, run.next_units)
        rates = calls_per_second(calls, seconds=seconds, repeats=repeats)
    values |= {f"{name}_steps_per_s": rate for name, rate in rates.items()}
    values |= {f"ratio_to_{name}": rates[chosen] / rates[name] for name in rates if name != chosen}
    return values


class _Run:
    """The training steps of a configuration, batch by batch."""

    def __init__(self, config: FinetuneConfig, init: str):
        source = (hub.parse(init),)
        self.task = open_task(config, Path("no workdir"), source)
        self._trainer = Trainer.of(self.task, self.task.config)
        self._state, _ = self._trainer.first_state(source, functools.partial(start_from, self.task))
        self._batches = self.task.training(self._trainer.host())
        self._steps = itertools.cycle(range(_STEPS))
        self._compiled = self._trainer.compile_train(self.task.phases[-1], self._state, self._batch())
        assert self.task.data.train is not None
        self.features = self.task.data.train

    @property
    def params(self) -> Any:
        return jax.device_get(self._state.params)

    def next_units(self) -> np.ndarray:
        """The examples of the next step."""
        return self._batches.units(next(self._steps))

    def step(self) -> None:
        self._state, sums = self._compiled(self._state, self._trainer.plan.place(self._batch()))
        jax.block_until_ready(sums)

    def compiled_shapes(self) -> dict[str, float]:
        """Compiles what the steps need: {"token_slots": of a step, "used": share of them that hold a token}."""
        slots, used = [], []
        for _ in range(_STEPS):
            batch = self._batch()
            slots.append(batch["tokens_BL"].size)
            used.append(int((batch["pack_ids_BL"] > 0).sum()))
            self._compiled.compile(self._state, self._trainer.plan.place(batch))
        return {"token_slots": float(np.mean(slots)), "used": float(np.sum(used) / np.sum(slots))}

    def _batch(self) -> Any:
        step = next(self._steps)
        return next(iter(self._batches.iterate(step, step + 1)))
