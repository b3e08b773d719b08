"""Scores, learning curves and cost of the trials of a sweep, read from its folder."""

from __future__ import annotations

import dataclasses
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bert_jax import json_file
from bert_jax.config.phases import phases, token_slots
from bert_jax.errors import UserError
from bert_jax.probes import scores as probes
from bert_jax.probes.scores import Breakdown, Score
from bert_jax.sweeps import trials as records
from bert_jax.sweeps.definition import Plan, Trial
from bert_jax.sweeps.store import read_plan
from bert_jax.sweeps.trials import TrialState

HELD_OUT = "held_out."
# Fields of an eval line that are not scores.
_NOT_MEASURED = {"step", "split", "sequence_length"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """A measured quantity, and how its values are written."""

    name: str
    better: Literal["higher", "lower"]
    unit: str
    """of the value as written: per cent for a share"""
    is_share: bool
    """a fraction between 0 and 1, such as an accuracy"""
    chance: float | None = None

    @property
    def scale(self) -> float:
        """What a value is multiplied by before it is written."""
        return 100.0 if self.is_share else 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a whole trial."""

    tokens: int
    """token slots: steps x rows x length, padding included"""
    flops: float
    """of the model, counted from its sizes"""
    hours: float | None
    """of training steps alone, from the rates logged; None: nothing was logged"""
    mfu: float | None
    """FLOPs a second as a share of the devices' peak, weighted by time"""
    wall_hours: float | None
    """of all attempts, with evaluation, checkpoints, compilation and probes"""

    @property
    def tokens_per_s(self) -> float | None:
        return self.tokens / (3600 * self.hours) if self.hours else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """An evaluation on held-out documents during training."""

    step: int
    tokens: int
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a trial has so far."""

    trial: Trial
    state: TrialState
    fault: str = ""
    """why its files cannot be read; such a trial enters no number"""
    curve: tuple[Point, ...] = ()
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """measure -> value at the last step; empty unless the trial counts"""
    scores: Mapping[str, Score] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """what decided the rows of the scores"""
    breakdowns: tuple[Breakdown, ...] = ()
    cost: Cost | None = None

    @property
    def counts(self) -> bool:
        """Whether it enters the numbers of its variant: it is finished, and its files can be read."""
        return self.state.status == "finished" and not self.fault

    @property
    def status(self) -> str:
        return "unreadable" if self.fault else self.state.status


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """What a sweep has so far."""

    folder: Path
    plan: Plan
    trials: tuple[Result, ...]
    measures: Mapping[str, Measure]
    """of everything that a trial measured or the sweep asks for; what the sweep tests comes first"""

    @property
    def variants(self) -> tuple[str, ...]:
        return tuple(variant.name for variant in self.plan.sweep.variants)

    @property
    def baseline(self) -> str:
        return self.plan.sweep.baseline

    def of(self, variant: str, *, counting: bool = True) -> tuple[Result, ...]:
        """The trials of a variant by seed; counting: only those that count."""
        own = [r for r in self.trials if r.trial.variant == variant and (r.counts or not counting)]
        return tuple(sorted(own, key=lambda result: result.trial.seed))

    def values(self, variant: str, measure: str) -> dict[int, float]:
        """Seed -> value, of the trials that count and have the measure."""
        return {r.trial.seed: r.values[measure] for r in self.of(variant) if measure in r.values}


def gather(folder: Path) -> Results:
    """Reads a sweep's folder, finished or not. The result of an unreadable trial holds the reason.

    Raises:
      UserError: it is not the folder of a sweep.
    """
    plan = read_plan(folder)
    trials = tuple(_result(folder, trial) for trial in plan.trials)
    return Results(folder=folder, plan=plan, trials=trials, measures=_measures(plan, trials))


def _result(folder: Path, trial: Trial) -> Result:
    from bert_jax.training.metrics import read_metrics

    state = records.trial_state(folder, trial)
    workdir = records.workdir(folder, trial)
    try:
        lines = read_metrics(workdir / "metrics.jsonl")
        curve = tuple(_curve(trial, lines))
        probed = probes.read(workdir)
    except (UserError, OSError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error) if isinstance(error, UserError) else f"{workdir}: cannot be read: {error}"
        return Result(trial=trial, state=state, fault=reason.replace(f"{folder}/", ""))
    if state.status != "finished" or probed is None:
        return Result(trial=trial, state=state, curve=curve)
    values = {score.name: score.value for score in probed.scores}
    if curve and curve[-1].step == trial.config.train.steps:
        values |= {HELD_OUT + name: value for name, value in curve[-1].values.items()}
    return Result(
        trial=trial,
        state=state,
        curve=curve,
        values={name: value for name, value in values.items() if math.isfinite(value)},
        scores={score.name: score for score in probed.scores},
        settings=probed.settings,
        breakdowns=probed.breakdowns,
        cost=_cost(trial, lines, records.read_attempts(folder, trial)),
    )


def _curve(trial: Trial, lines: Sequence[Mapping[str, Any]]) -> Iterator[Point]:
    for line in lines:
        if line["split"] == "eval":
            values = {
                name: float(value)
                for name, value in line.items()
                if name not in _NOT_MEASURED and isinstance(value, int | float)
            }
            yield Point(step=line["step"], tokens=_tokens_at(trial, line["step"]), values=values)


def _tokens_at(trial: Trial, step: int) -> int:
    rows = trial.config.train.batch_size
    return sum(
        rows * phase.config.data.sequence_length * max(0, min(step, phase.stop) - phase.start)
        for phase in phases(trial.config)
    )


# ---------------------------------------------------------------------------------------------
# Cost
# ---------------------------------------------------------------------------------------------


def _cost(trial: Trial, lines: Sequence[Mapping[str, Any]], attempts: Sequence[Mapping[str, Any]]) -> Cost:
    from bert_jax.tasks.choose import task_of

    rows = trial.config.train.batch_size
    flops = sum((phase.stop - phase.start) * phase.flops for phase in task_of(trial.config).phases)
    hours, mfu = _training_time(rows, lines)
    return Cost(
        tokens=token_slots(trial.config), flops=flops, hours=hours, mfu=mfu, wall_hours=_wall_hours(attempts)
    )


def _training_time(rows: int, lines: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """Hours of training steps, and MFU: each train line gives the rate of the steps since the line before."""
    step, seconds, busy = 0, 0.0, 0.0
    for line in lines:
        if line["split"] == "train" and line.get("sequences_per_s"):
            taken = (line["step"] - step) * rows / line["sequences_per_s"]
            step = line["step"]
            seconds += taken
            busy += taken * line.get("mfu", math.nan)
    if not seconds:
        return None, None
    return seconds / 3600, busy / seconds if math.isfinite(busy) else None


def _wall_hours(attempts: Sequence[Mapping[str, Any]]) -> float | None:
    """Hours of the attempts whose end is recorded."""
    total, began = 0.0, None
    for entry in attempts:
        if "began" in entry:
            began = entry["began"]
        elif began is not None and "ended" in entry:
            # By the clock of the day where the attempt could not note it; that clock may have been set meanwhile.
            is_noted = not json_file.fault(entry, {"seconds": float})
            seconds = entry["seconds"] if is_noted else max(entry["ended"] - began, 0.0)
            total, began = total + seconds, None
    return total / 3600 if total else None


# ---------------------------------------------------------------------------------------------
# Measures
# ---------------------------------------------------------------------------------------------


def _measures(plan: Plan, trials: Sequence[Result]) -> dict[str, Measure]:
    found: dict[str, Score | None] = {}
    for result in trials:
        for name in result.values:
            found[name] = found.get(name) or result.scores.get(name)
    names = [*plan.sweep.measures, *sorted(found.keys() - set(plan.sweep.measures), key=_probes_first)]
    return {name: _measure(name, found.get(name)) for name in names}


def _probes_first(name: str) -> tuple[bool, str]:
    return name.startswith(HELD_OUT), name


def _measure(name: str, score: Score | None) -> Measure:
    field = name.rpartition(".")[2]
    is_share = field.endswith(("accuracy", "recall", "precision", "f1", "replaced"))
    is_cost = "loss" in field or "perplexity" in field
    unit = score.unit if score else _UNITS.get(field, "nats" if is_cost else "")
    return Measure(
        name=name,
        better=score.better if score else "lower" if is_cost else "higher",
        unit="%" if is_share else unit,
        is_share=is_share,
        chance=score.chance if score else None,
    )


_UNITS = {
    "mlm_loss": "nats per masked token",
    "z_loss": "",
    "pair_loss": "nats per pair",
    "rtd_loss": "nats per token",
    "hidden_cosine_loss": "",
    "hidden_mse_loss": "",
    "attention_mse_loss": "",
}
