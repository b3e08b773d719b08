"""The training loop: steps, logs, evaluations, checkpoints, and how it ends."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from bert_jax.config import Config
from bert_jax.errors import Interrupted, UserError
from bert_jax.objectives.sums import Objective, means
from bert_jax.progress import bar
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.metrics import MetricsLog, Stopwatch, flops_per_sequence
from bert_jax.training.state import TrainState, clear_window

Batch = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Everything the loop drives. Batches come from anywhere: the loop knows neither text nor files."""

    config: Config
    objective: Objective
    place: Callable[[Batch], Any]
    """host batch -> arrays on the devices"""
    train_step: Callable[[TrainState, Any], tuple[TrainState, Any]]
    batches: Callable[[int, int], Iterator[Batch]]
    """(first step, last step + 1) -> their batches"""
    evaluate: Callable[[Any], dict[str, float]] | None
    """parameters -> held-out means; None without held-out documents"""
    schedule: Callable[[int], Any]
    checkpoints: Checkpoints
    log: MetricsLog
    peak_flops: float
    resume_hint: str
    """what to tell a user whose run was stopped"""


def train(run: Run, state: TrainState) -> TrainState:
    """Runs from `state.step` to the last step and returns the final state, saved.

    Raises:
      Interrupted: SIGTERM or SIGINT came; the state was saved first. A second SIGINT stops at once.
      UserError: a loss or gradient was not finite, or a checkpoint could not be written.
    """
    config = run.config.train
    step = logged = int(state.step)
    watch, waiting = Stopwatch(), collections.deque[Any]()
    batches = run.batches(step, config.steps)
    with _StopSignals() as stop, bar(description="pretrain", total=config.steps, initial=step) as progress:
        for batch in batches:
            state, sums = run.train_step(state, run.place(batch))
            step += 1
            waiting.append(sums)
            if len(waiting) > _IN_FLIGHT[jax.default_backend() == "cpu"]:
                jax.block_until_ready(waiting.popleft())
            progress.update()

            is_last = step == config.steps
            if step % config.log_every == 0 or is_last:
                _raise_if_failed(run, state)
                values = _report(run, state, step, (step - logged) / watch.read())
                logged = step
                run.log.write(step, "train", values)
                progress.set_postfix_str(f"loss {values['loss']:.3f}", refresh=False)
                state = clear_window(state)
                run.checkpoints.check()
            evaluation = None
            if run.evaluate and (step % config.eval_every == 0 or is_last):
                _raise_if_failed(run, state)
                watch.pause()
                evaluation = run.evaluate(state.params)
                run.log.write(step, "eval", evaluation)
                progress.write(f"step {step}: held-out " + _readable(evaluation), file=sys.stderr)
                watch.resume()
            if step % run.config.checkpoint.every == 0 or is_last or stop.number:
                _raise_if_failed(run, state)
                watch.pause()
                run.checkpoints.save(state, evaluation=evaluation)
                watch.resume()
            if stop.number and not is_last:
                run.checkpoints.wait()
                name = signal.Signals(stop.number).name
                raise Interrupted(f"{name} at step {step}: saved. {run.resume_hint}", stop.number)
    run.checkpoints.wait()
    return state


# Steps dispatched ahead of the one that is computed. Enough to hide the host's work on an accelerator;
# none on CPU, where the host's work is the computation and collectives of two steps can starve each other.
_IN_FLIGHT = {False: 2, True: 0}


def _report(run: Run, state: TrainState, step: int, steps_per_s: float) -> dict[str, float]:
    """One train line: means over the window, the rate of the last update, and throughput."""
    rows = steps_per_s * run.config.train.batch_size
    return {
        **run.objective.report(means(jax.device_get(state.window))),
        "learning_rate": float(run.schedule(step - 1)),
        "sequences_per_s": rows,
        "tokens_per_s": rows * run.config.data.sequence_length,
        "mfu": rows * flops_per_sequence(run.config) / run.peak_flops,
    }


def _raise_if_failed(run: Run, state: TrainState) -> None:
    """A step that was not finite ends the run before anything of it is saved or evaluated."""
    failed = int(state.failed_step)
    if failed < 0:
        return
    batch = next(iter(run.batches(failed, failed + 1)))
    ids = batch["example_ids_B"]
    last = run.checkpoints.latest()
    kept = "no checkpoint was saved before" if last is None else f"the last good checkpoint is step {last}"
    raise UserError(
        f"loss or gradient is not finite at step {failed + 1} (examples {ids[0]} to {ids[-1]}); {kept}."
        f" Lower config.optim.learning_rate={run.config.optim.learning_rate} or raise"
        f" config.optim.warmup_steps={run.config.optim.warmup_steps}"
    )


def _readable(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


class _StopSignals(contextlib.AbstractContextManager):
    """Notes SIGTERM and SIGINT for the loop to see after the step; a second SIGINT interrupts as usual."""

    def __init__(self) -> None:
        self.number = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> _StopSignals:
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError):  # not the main thread: leave signals to its owner
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
