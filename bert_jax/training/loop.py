"""The training loop: steps, logs, evaluations, checkpoints, and how it ends."""

from __future__ import annotations

import collections
import dataclasses
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from bert_jax.config import Config
from bert_jax.config.phases import Phase
from bert_jax.errors import Interrupted, UserError
from bert_jax.objectives.sums import Objective, means
from bert_jax.progress import bar
from bert_jax.training import processes
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.metrics import MetricsLog, NoLog, Stopwatch, flops_per_sequence
from bert_jax.training.processes import StopSignals
from bert_jax.training.state import TrainState, clear_window

Batch = Mapping[str, np.ndarray]
TrainStep = Callable[[TrainState, Any], tuple[TrainState, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A phase of the run and what works on its rows."""

    phase: Phase
    batches: Callable[[int, int], Iterator[Batch]]
    """(first step, last step + 1) -> their batches"""
    compile: Callable[[TrainState, Batch], TrainStep]
    """a state and a batch -> the training step for their shapes"""
    evaluate: Callable[[Any], dict[str, float]] | None
    """parameters -> means over held-out rows of this phase's length; None without held-out documents"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Everything the loop drives. Batches come from anywhere: the loop knows neither text nor files."""

    config: Config
    stages: tuple[Stage, ...]
    """from step 0 to the last without a gap"""
    objective: Objective
    place: Callable[[Batch], Any]
    """host batch -> arrays on the devices"""
    schedule: Callable[[int], Any]
    checkpoints: Checkpoints
    log: MetricsLog | NoLog
    peak_flops: float
    resume_hint: str
    """what to tell a user whose run was stopped"""


def train(run: Run, state: TrainState) -> TrainState:
    """Runs from `state.step` to the last step and returns the final state, saved.

    A phase ends with a train line, an evaluation and a checkpoint, so no line of metrics mixes lengths.

    Raises:
      Interrupted: SIGTERM or SIGINT came; the state was saved first. A second SIGINT stops at once.
      UserError: a loss or gradient was not finite, or a checkpoint could not be written.
    """
    step = int(state.step)
    with (
        StopSignals() as stop,
        bar(
            description="pretrain",
            total=run.config.train.steps,
            initial=step,
            disable=not processes.is_first(),
        ) as progress,
    ):
        for stage in run.stages:
            if int(state.step) < stage.phase.stop:
                state = _train_stage(run, stage, state, stop, progress)
    run.checkpoints.wait()
    return state


def _train_stage(run: Run, stage: Stage, state: TrainState, stop: StopSignals, progress: Any) -> TrainState:
    """The steps of one phase that are left."""
    config, phase = stage.phase.config, stage.phase
    step = logged = int(state.step)
    if len(run.stages) > 1:
        length = config.data.sequence_length
        _say(progress, f"steps {step + 1} to {phase.stop}: rows of {length} tokens")
    if step == 0:
        _evaluate(run, stage, state)
    processes.heartbeat("the compilation of the training step")
    train_step = stage.compile(state, next(iter(stage.batches(step, step + 1))))
    processes.heartbeat(f"step {step + 1}")
    watch, waiting = Stopwatch(), collections.deque[Any]()
    for batch in stage.batches(step, phase.stop):
        state, sums = train_step(state, run.place(batch))
        step += 1
        waiting.append((sums, stop.start_vote(jax.tree.leaves(sums)[0])))
        if len(waiting) > _IN_FLIGHT[jax.default_backend() == "cpu"]:
            computed, question = waiting.popleft()
            jax.block_until_ready(computed)
            stop.read_vote(question)
            processes.heartbeat(f"step {step + 1 - len(waiting)}")
        progress.update()

        is_last = step == phase.stop
        if step % config.train.log_every == 0 or is_last:
            _raise_if_failed(run, state)
            values = _report(run, stage, state, (step - logged) / watch.read())
            logged = step
            run.log.write(step, "train", values)
            progress.set_postfix_str(f"loss {values['loss']:.3f}", refresh=False)
            state = clear_window(state)
            run.checkpoints.check()
        evaluation = None
        if stage.evaluate and (step % config.train.eval_every == 0 or is_last):
            _raise_if_failed(run, state)
            watch.pause()
            evaluation = _evaluate(run, stage, state)
            _say(progress, f"step {step}: held-out " + _readable(evaluation))
            watch.resume()
        if step % config.checkpoint.every == 0 or is_last or stop.agreed:
            _raise_if_failed(run, state)
            watch.pause()
            run.checkpoints.save(state, evaluation=evaluation)
            watch.resume()
        if stop.agreed and step < run.config.train.steps:
            run.checkpoints.wait()
            name = signal.Signals(stop.agreed).name
            stopped = Interrupted(f"{name} at step {step}: saved. {run.resume_hint}", stop.agreed)
            raise processes.raised_everywhere(stopped)
    return state


# Steps dispatched ahead of the one that is computed. Enough to hide the host's work on an accelerator;
# none on CPU, where the host's work is the computation and collectives of two steps can starve each other.
_IN_FLIGHT = {False: 2, True: 0}


def _report(run: Run, stage: Stage, state: TrainState, steps_per_s: float) -> dict[str, float]:
    """One train line: means over the window, the rate of the last update, and throughput.

    A row counts L tokens, its padding included: the rate of the arithmetic, not of the text.
    """
    config = stage.phase.config
    rows = steps_per_s * config.train.batch_size
    return {
        **run.objective.report(means(jax.device_get(state.window))),
        "learning_rate": float(run.schedule(int(state.step) - 1)),
        "sequence_length": config.data.sequence_length,
        "sequences_per_s": rows,
        "tokens_per_s": rows * config.data.sequence_length,
        "mfu": rows * flops_per_sequence(config) / run.peak_flops,
    }


def _evaluate(run: Run, stage: Stage, state: TrainState) -> dict[str, float]:
    """One eval line, written and returned; empty without held-out documents."""
    if stage.evaluate is None:
        return {}
    processes.heartbeat("the evaluation")
    values = {**stage.evaluate(state.params), "sequence_length": stage.phase.config.data.sequence_length}
    run.log.write(int(state.step), "eval", values)
    return values


def _raise_if_failed(run: Run, state: TrainState) -> None:
    """A step that was not finite ends the run before anything of it is saved or evaluated."""
    failed = int(state.failed_step)
    if failed < 0:
        return
    run.checkpoints.wait()
    last = run.checkpoints.latest()
    kept = "no checkpoint was saved before" if last is None else f"the last good checkpoint is step {last}"
    size = run.config.train.batch_size
    error = UserError(
        f"loss or gradient is not finite at step {failed + 1} (examples {failed * size} to"
        f" {(failed + 1) * size - 1}); {kept}."
        f" Lower config.optim.learning_rate={run.config.optim.learning_rate} or raise"
        f" config.optim.warmup_steps={run.config.optim.warmup_steps}"
    )
    raise processes.raised_everywhere(error)


def _readable(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())


def _say(progress: Any, text: str) -> None:
    """One line above the bar, of the process that speaks."""
    if processes.is_first():
        progress.write(text, file=sys.stderr)
