"""The definition of a suite: tasks, a grid of values, seeds; and every run of it resolved.

experiments/suites/x.py: get_suite() -> Suite
load(x.py)                           -> Plan, or a ConfigError with every fault
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from bert_jax import config as configs
from bert_jax.config import FinetuneConfig, experiment
from bert_jax.errors import ConfigError, UsageError
from bert_jax.scoring.glue import GLUE, SUBMISSIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """Tasks on which one model is fine-tuned."""

    tasks: Mapping[str, str]
    """name -> experiment of fine-tuning, FILE[:ARGUMENT] relative to the suite file; in the order in which they run"""
    starts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """task -> the earlier task whose best model it begins with"""
    grid: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    """option -> values; every combination is run, and the best on task.eval counts"""
    seeds: tuple[int, ...] = (0,)
    further: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    """task -> {name: labelled data that its model is scored on besides}; the scores are NAME_SCORE"""
    is_glue: bool = False
    """whether the tasks are named as GLUE's: their scores are then GLUE's, beside published ones"""
    submissions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """test set, as `scoring.glue.SUBMISSIONS` names it -> its texts, for the files that GLUE's server takes"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """One combination of the grid's values for one task."""

    name: str
    """of its folder: "learning_rate=2e-05"; "run" where there is no grid"""
    config: FinetuneConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A suite with every run resolved."""

    suite: Suite
    points: Mapping[str, tuple[Point, ...]]
    """task -> its combinations"""


def load(
    path: str, overrides: Sequence[str] = (), *, seeds: Sequence[int] = (), only: Sequence[str] = ()
) -> Plan:
    """The suite of the file `path`, or of experiments/suites/NAME.py if it is a NAME.

    Args:
      overrides: "group.field=value" for every task.
      seeds: instead of the file's. only: the tasks that are run; (): all.

    Raises:
      UsageError: no such file, or it returns something else.
      ConfigError: every fault of every task at once.
    """
    file = path if path.partition(":")[0].endswith(".py") else f"experiments/suites/{path}.py"
    suite = experiment.call(file, "get_suite", flag="--suite ")
    if not isinstance(suite, Suite):
        raise UsageError(f"--suite {path}: get_suite() must return a Suite, returned {suite!r}")
    if unknown := [name for name in only if name not in suite.tasks]:
        raise UsageError(f"--only {unknown[0]} must be one of {', '.join(suite.tasks)}")
    tasks = {name: entry for name, entry in suite.tasks.items() if name in only or not only}
    suite = dataclasses.replace(suite, tasks=tasks, seeds=tuple(seeds) or suite.seeds)
    faults = _suite_faults(suite)
    points: dict[str, tuple[Point, ...]] = {}
    for name, entry in tasks.items():
        try:
            points[name] = _points(
                experiment.beside(file, entry), suite, overrides, fresh=name in suite.starts
            )
        except ConfigError as error:
            faults += [f"task {name}: {fault}" for fault in error.faults]
    if faults:
        raise ConfigError([f"{file}: {fault}" for fault in faults])
    return Plan(suite=suite, points=points)


def _points(file: str, suite: Suite, overrides: Sequence[str], *, fresh: bool) -> tuple[Point, ...]:
    """fresh: it begins with the model of another task, whose head is of no use."""
    found = []
    head = {"tuning.head": "fresh"} if fresh else {}
    for values in itertools.product(*suite.grid.values()):
        chosen = dict(zip(suite.grid, values, strict=True))
        config: FinetuneConfig = configs.load(file, overrides, values=chosen | head, kind=FinetuneConfig)
        configs.check_command(config, "finetune", file)
        if not config.task.eval:
            raise ConfigError(["config.task.eval='' must name the examples that choose the best run"])
        name = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in chosen.items())
        found.append(Point(name=name or "run", config=config))
    return tuple(found)


def _suite_faults(suite: Suite) -> list[str]:
    faults = []
    names = list(suite.tasks)
    for task, start in suite.starts.items():
        if task in names and start in names and names.index(start) > names.index(task):
            faults.append(f"starts: {task} begins with {start}, which must come before it in tasks")
    if suite.is_glue:
        unknown = [name for name in names if name not in GLUE]
        faults += [f"tasks: {name!r} must be one of GLUE's: {', '.join(GLUE)}" for name in unknown]
    elif suite.submissions:
        faults.append("submissions must go with is_glue=True")
    unknown = [name for name in suite.submissions if name not in SUBMISSIONS]
    faults += [f"submissions: {name!r} must be one of {', '.join(SUBMISSIONS)}" for name in unknown]
    return faults
