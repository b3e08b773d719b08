"""Runs a suite: every task, combination and seed, one after another; each is a run of its own that resumes."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.config import FinetuneConfig
from bert_jax.errors import UserError
from bert_jax.scoring.glue import GLUE, SUBMISSIONS, task_score, write_submission
from bert_jax.suites.definition import Plan, Point
from bert_jax.tasks.choose import select_of
from bert_jax.tasks.evaluate import evaluate
from bert_jax.tasks.finetune import finetune
from bert_jax.tasks.seeds import SeedResult, Spread, over_seeds, spread
from bert_jax.training import workdir as workdirs

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskResult:
    """How a task ended."""

    name: str
    chosen: str
    """the combination with the best mean over seeds; empty: every run failed"""
    scores: Mapping[str, Spread]
    """of that combination over its seeds; "score" is the task's one number"""
    model: Path | None
    """the run of its best seed"""
    faults: tuple[str, ...]
    """runs that failed, a line each"""


def run_suite(plan: Plan, workdir: Path, *, init: str | Path | None, command: str) -> list[TaskResult]:
    """Runs what is not finished, in workdir/TASK/COMBINATION/seedN, and scores all.

    Raises:
      UsageError, ConfigError: as `finetune`, of the first run that has it.
      Interrupted: a signal came; the state was saved.
    """
    found: dict[str, TaskResult] = {}
    for task, points in plan.points.items():
        start = plan.suite.starts.get(task)
        begin = init
        if start in found:
            begin = found[start].model
            if begin is None:
                reason = f"it begins with {start}, of which every run failed"
                found[task] = TaskResult(name=task, chosen="", scores={}, model=None, faults=(reason,))
                continue
        elif start:
            _log.warning("%s begins with --init, as %s is not run", task, start)
        found[task] = _task(plan, task, points, workdir / task, init=begin, command=command)
    return list(found.values())


def _task(
    plan: Plan, task: str, points: tuple[Point, ...], folder: Path, *, init: str | Path | None, command: str
) -> TaskResult:
    results: dict[str, list[SeedResult]] = {}
    for point in points:
        _log.info("%s, %s", task, point.name)
        results[point.name] = over_seeds(
            functools.partial(finetune, init=init, command=command),
            point.config,
            folder / point.name,
            seeds=plan.suite.seeds,
        )
    faults = tuple(
        f"{name}, seed {result.seed}: {result.fault}"
        for name, each in results.items()
        for result in each
        if result.fault
    )
    runs_of = {
        name: done
        for name, each in results.items()
        if (done := {folder / name / f"seed{r.seed}": dict(r.scores) for r in each if r.scores})
    }
    if not runs_of:
        return TaskResult(name=task, chosen="", scores={}, model=None, faults=faults)
    # The run's own configuration knows: the data may decide which score is usual.
    some_run = next(iter(next(iter(runs_of.values()))))
    select = select_of(workdirs.read(some_run, FinetuneConfig).config)
    sign = 1 if select.better == "max" else -1
    means = {
        name: sign * float(np.mean([scores[select.name] for scores in runs.values()]))
        for name, runs in runs_of.items()
    }
    chosen = max(means, key=means.__getitem__)
    runs = runs_of[chosen]
    for run, scores in runs.items():
        for name, data in plan.suite.further.get(task, {}).items():
            more = evaluate(run, checkpoint="best", data=data).scores
            scores |= {f"{name}_{measure}": value for measure, value in more.items()}
        scores["score"] = _one_number(plan, task, scores, select.name)
    best = max(runs, key=lambda run: sign * runs[run][select.name])
    return TaskResult(
        name=task, chosen=chosen, scores=_spreads(list(runs.values())), model=best, faults=faults
    )


def _spreads(of_seeds: list[dict[str, float]]) -> dict[str, Spread]:
    """Each score that every seed has."""
    names = [name for name in of_seeds[0] if all(name in scores for scores in of_seeds)]
    return {name: spread([scores[name] for scores in of_seeds]) for name in names}


def _one_number(plan: Plan, task: str, scores: Mapping[str, float], select: str) -> float:
    """GLUE's score of the task, as far as its metrics are there; of another suite what chooses the checkpoint."""
    if not plan.suite.is_glue:
        return scores[select]
    there = [name for name in GLUE[task].metrics if name in scores]
    if len(there) < len(GLUE[task].metrics):  # MNLI without its mismatched set
        return math.fsum(scores[name] for name in there) / len(there) if there else scores[select]
    return task_score(task, scores)


def write_submissions(
    plan: Plan, results: list[TaskResult], folder: Path, *, load: Callable[..., Any]
) -> list[Path]:
    """The files for GLUE's server, of the test sets whose task was run.

    load: `bert_jax.load`.

    Raises:
      UserError: a test set cannot be read, or a model has other labels than GLUE.
    """
    from bert_jax.data.labelled.open import Columns, read_texts

    models = {result.name: result.model for result in results}
    written = []
    for test, entry in plan.suite.submissions.items():
        task = SUBMISSIONS[test][1]
        if models.get(task) is None:
            continue
        options = plan.points[task][0].config.task
        examples = read_texts(
            entry,
            columns=Columns(text=options.text, text_pair=options.text_pair),
            label="class",
            labelled=False,
            tfds_dir=options.tfds_dir,
        ).examples
        pairs = None if examples[0].text_pair is None else [one.text_pair or "" for one in examples]
        model = load(models[task], checkpoint="best")
        found = [one.label for one in model.classify([one.text for one in examples], pairs)]
        labels = GLUE[task].labels
        if unknown := set(found) - set(labels) if labels else set():
            raise UserError(
                f"{task}: GLUE has no label {unknown.pop()!r}: its labels are {', '.join(labels)}"
            )
        numbers = [labels.index(label) for label in found] if labels else found
        written.append(write_submission(folder, test, np.array(numbers)))
    return written
