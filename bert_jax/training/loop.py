"""The training loop: steps, logs, evaluations, checkpoints, and how it ends."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.errors import JaxRuntimeError

from bert_jax.batch import Batch
from bert_jax.config import RunConfig
from bert_jax.errors import Interrupted, UserError
from bert_jax.objectives.sums import Objective, means
from bert_jax.progress import bar
from bert_jax.training import processes
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.metrics import MetricsLog, NoLog
from bert_jax.training.profiling import Trace
from bert_jax.training.state import TrainState, clear_window
from bert_jax.training.step import SKIPPED
from bert_jax.training.task import Metric, Phase

TrainStep = Callable[[TrainState, Any], tuple[TrainState, Any]]

_log = logging.getLogger(__name__)

# Steps dispatched ahead of the one that is computed. Enough to hide the host's work on an accelerator;
# none on CPU, where the host's work is the computation and collectives of two steps can starve each other.
_AHEAD_ON_ACCELERATOR, _AHEAD_ON_CPU = 2, 0
_STUCK = 100
"""Steps without an update, one after the other, that end a run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A phase of the run and what works on its rows."""

    phase: Phase
    batches: Callable[[int, int], Iterator[Batch]]
    """(first step, last step + 1) -> their batches"""
    compile: Callable[[TrainState, Batch], TrainStep]
    """a state and a batch -> the training step for their shapes"""
    evaluate: Callable[[Any], dict[str, float]] | None
    """parameters -> scores of the held-out rows of this phase; None: nothing is held out"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Everything the loop drives. Batches come from anywhere: the loop knows neither text nor files."""

    name: str
    config: RunConfig
    stages: tuple[Stage, ...]
    """from step 0 to the last without a gap"""
    objective: Objective
    select: Metric
    """the held-out score that the best checkpoint has the best of"""
    history: list[float]
    """its values before the step that the run goes on from; grows with each evaluation"""
    place: Callable[[Batch], Any]
    """host batch -> arrays on the devices"""
    schedule: Callable[[int], Any]
    checkpoints: Checkpoints
    log: MetricsLog | NoLog
    trace: contextlib.AbstractContextManager[Trace | None]
    peak_flops: float
    resume_hint: str
    """what to tell a user whose run was stopped"""


def train(run: Run, state: TrainState) -> TrainState:
    """Runs from `state.step` to the last step and returns the final state, saved.

    A phase ends with a train line, an evaluation and a checkpoint, so no line of metrics mixes two. With
    config.train.patience the run ends, saved, at the evaluation that is so many after the best.

    Raises:
      Interrupted: SIGTERM or SIGINT came; the state was saved first. A second SIGINT stops at once.
      UserError: a loss or gradient was not finite, or a checkpoint could not be written.
    """
    step = int(state.step)
    with (
        processes.StopSignals() as stop,
        run.trace as trace,
        bar(
            description=run.name,
            total=run.config.train.steps,
            initial=step,
            disable=not processes.is_first(),
        ) as progress,
    ):
        for stage in run.stages:
            if int(state.step) < stage.phase.stop and not _is_out_of_patience(run):
                with _told_of_memory(run, stage.phase):
                    state = _train_stage(run, stage, state, stop, progress, trace)
    run.checkpoints.wait()
    return state


@contextlib.contextmanager
def _told_of_memory(run: Run, phase: Phase) -> Iterator[None]:
    """Says of a device whose memory is full what filled it, and what to lower."""
    try:
        yield
    except JaxRuntimeError as error:
        if not str(error).startswith("RESOURCE_EXHAUSTED"):
            raise
        accumulate = run.config.train.accumulate
        raise UserError(
            f"out of memory: a step of {phase.batch_size} rows of {phase.spec.length} tokens in {accumulate} micro-batches"
            " does not fit the devices; raise config.train.accumulate or config.parallel.fsdp, set config.model.remat, or"
            f" lower config.train.batch_size. {str(error).strip().splitlines()[0][:300]}"
        ) from error


def _train_stage(
    run: Run, stage: Stage, state: TrainState, stop: processes.StopSignals, progress: Any, trace: Trace | None
) -> TrainState:
    """The steps of one phase that are left."""
    phase, train = stage.phase, run.config.train
    step = logged = updated = int(state.step)
    if len(run.stages) > 1:
        _say(f"steps {step + 1} to {phase.stop}: {phase.batch_size} rows of {phase.spec.length} tokens")
    if step == 0:
        _evaluate(run, stage, state)
    processes.heartbeat("the compilation of the training step")
    train_step = stage.compile(state, next(iter(stage.batches(step, step + 1))))
    processes.heartbeat(f"step {step + 1}")
    ahead = _AHEAD_ON_CPU if jax.default_backend() == "cpu" else _AHEAD_ON_ACCELERATOR
    watch, waiting = _Stopwatch(), collections.deque[Any]()
    for batch in stage.batches(step, phase.stop):
        if trace:
            trace.before_step(state)
        state, sums = train_step(state, run.place(batch))
        step += 1
        waiting.append((sums, stop.start_vote(jax.tree.leaves(sums)[0])))
        if len(waiting) > ahead:
            computed, vote = waiting.popleft()
            jax.block_until_ready(computed)
            stop.read_vote(vote)
            processes.heartbeat(f"step {step + 1 - len(waiting)}")
        progress.update()

        is_last = step == phase.stop
        if step % train.log_every == 0 or is_last:
            _raise_if_failed(run, state)
            values = _report(run, phase, state, (step - logged) / watch.read())
            logged = step
            run.log.write(step, "train", values)
            if values.get(SKIPPED, 0) < 1:
                progress.set_postfix_str(f"loss {values['loss']:.3f}", refresh=False)
                updated = step
            _raise_if_stuck(run, step, updated)
            state = clear_window(state)
            run.checkpoints.check()
        evaluation, is_over = None, False
        if stage.evaluate and (step % train.eval_every == 0 or is_last):
            _raise_if_failed(run, state)
            watch.pause()
            evaluation = _evaluate(run, stage, state)
            _say(f"step {step}: held-out " + _readable(evaluation))
            is_over = _is_out_of_patience(run) and step < train.steps
            watch.resume()
        if step % run.config.checkpoint.every == 0 or is_last or is_over or stop.agreed:
            _raise_if_failed(run, state)
            watch.pause()
            ranked = evaluation and {**evaluation, "evaluation": phase.evaluation}
            run.checkpoints.save(state, evaluation=ranked)
            watch.resume()
        if stop.agreed and step < train.steps:
            run.checkpoints.wait()
            name = signal.Signals(stop.agreed).name
            stopped = Interrupted(f"{name} at step {step}: saved. {run.resume_hint}", stop.agreed)
            raise processes.raised_everywhere(stopped)
        if is_over:
            name, patience = run.select.name, train.patience
            _say(
                f"step {step}: ends here: {name} was best {patience} evaluations ago (config.train.patience)"
            )
            break
    return state


def _is_out_of_patience(run: Run) -> bool:
    """Whether the last `patience` evaluations were all worse than the best before them, or as good."""
    patience = run.config.train.patience
    if not patience or len(run.history) <= patience:
        return False
    best = max if run.select.better == "max" else min
    before, last = best(run.history[:-patience]), best(run.history[-patience:])
    return last <= before if run.select.better == "max" else last >= before


def _report(run: Run, phase: Phase, state: TrainState, steps_per_s: float) -> dict[str, float]:
    """One train line: means over the window, the rate of the last update, and throughput.

    A row counts L tokens, its padding included: the rate of the arithmetic, not of the text.
    """
    slots = phase.tokens or phase.batch_size * phase.spec.length
    found = means(jax.device_get(state.window))
    return {
        **(found if found.get(SKIPPED) == 1 else run.objective.report(found)),
        "learning_rate": float(run.schedule(int(state.step) - 1)),
        "sequence_length": phase.spec.length,
        "sequences_per_s": steps_per_s * phase.batch_size,
        "tokens_per_s": steps_per_s * slots,
        "mfu": steps_per_s * phase.flops / run.peak_flops,
    }


def _evaluate(run: Run, stage: Stage, state: TrainState) -> dict[str, float]:
    """One eval line, written and returned; empty without held-out rows."""
    if stage.evaluate is None:
        return {}
    processes.heartbeat("the evaluation")
    values = {**stage.evaluate(state.model_params), "sequence_length": stage.phase.spec.length}
    run.log.write(int(state.step), "eval", values)
    if run.select.name in values:
        run.history.append(values[run.select.name])
    return values


def _raise_if_stuck(run: Run, step: int, updated: int) -> None:
    """Steps that are skipped one after the other end the run: what is wrong will not pass."""
    if step - updated < _STUCK:
        return
    optim = run.config.optim
    raise processes.raised_everywhere(
        UserError(
            f"no step updated anything from {updated + 1} to {step}: gradient norms are above config.optim.skip_norm="
            f"{optim.skip_norm} or not finite; raise it, or lower config.optim.learning_rate={optim.learning_rate}"
        )
    )


def _raise_if_failed(run: Run, state: TrainState) -> None:
    """A step that was not finite ends the run before anything of it is saved or evaluated."""
    failed = int(state.failed_step)
    if failed < 0:
        return
    run.checkpoints.wait()
    last = run.checkpoints.latest()
    kept = "no checkpoint was saved before" if last is None else f"the last good checkpoint is step {last}"
    phase = next(stage.phase for stage in run.stages if failed < stage.phase.stop)
    first = phase.first_row + (failed - phase.start) * phase.batch_size
    broken = [name for name, (total, _) in jax.device_get(state.window).items() if not np.isfinite(total)]
    error = UserError(
        f"loss or gradient is not finite at step {failed + 1}: {', '.join(broken)} (examples {first} to {first + phase.batch_size - 1});"
        f" {kept}. Lower config.optim.learning_rate={run.config.optim.learning_rate} or raise"
        f" config.optim.warmup_steps={run.config.optim.warmup_steps}; config.optim.skip_norm leaves out such steps"
    )
    raise processes.raised_everywhere(error)


def _readable(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())


def _say(text: str) -> None:
    """One line above the bar, of the first process."""
    if processes.is_first():
        _log.info("%s", text)


class _Stopwatch:
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
