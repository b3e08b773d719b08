"""The same fine-tuning with several seeds: small sets move by points from one to the next (Dodge et al. 2020)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.config import FinetuneConfig
from bert_jax.errors import ConfigError, Interrupted, UsageError, UserError
from bert_jax.tasks.choose import select_of
from bert_jax.training import processes
from bert_jax.training import workdir as workdirs
from bert_jax.training.metrics import METRICS_FILE, read_metrics


@dataclasses.dataclass(frozen=True)
class SeedResult:
    """How the run of one seed ended."""

    seed: int
    scores: Mapping[str, float]
    """of its best evaluation; empty if it failed or has none"""
    fault: str = ""
    """why it failed"""


@dataclasses.dataclass(frozen=True)
class Spread:
    """A score over seeds."""

    mean: float
    deviation: float
    """standard deviation of a seed (n - 1); 0 of one seed"""
    margin: float
    """half of the 95 % interval of the mean, by Student's t; NaN of one seed"""


def over_seeds(
    run: Callable[[FinetuneConfig, Path], None],
    config: FinetuneConfig,
    workdir: Path,
    *,
    seeds: Sequence[int],
) -> list[SeedResult]:
    """`run` for each seed in workdir/seedN, one after another; one that fails does not stop the others.

    Raises:
      UsageError: several processes, or a workdir that is itself a run's.
      ConfigError: as `run`: a faulty configuration is that of every seed.
      Interrupted: a signal came; the state was saved.
    """
    if not processes.is_alone():
        raise UsageError("--seeds must be run by one process: start a run for each seed")
    if workdirs.is_workdir(workdir):
        raise UsageError(f"--workdir {workdir} is of a run without --seeds: choose another folder")
    results = []
    for seed in seeds:
        folder = workdir / f"seed{seed}"
        try:
            run(dataclasses.replace(config, seed=seed), folder)
        except (Interrupted, UsageError, ConfigError):
            raise
        except UserError as error:
            results.append(SeedResult(seed, {}, str(error)))
        else:
            results.append(SeedResult(seed, best_scores(folder)))
    return results


def best_scores(workdir: Path) -> dict[str, float]:
    """The scores of a run's best evaluation, with its step; {} if there is none."""
    select = select_of(workdirs.read(workdir, FinetuneConfig).config)
    lines = [
        line for line in read_metrics(workdir / METRICS_FILE) if line["split"] == "eval" and line["step"]
    ]
    lines = [line for line in lines if select.name in line]
    if not lines:
        return {}
    best = max if select.better == "max" else min
    line: dict[str, Any] = best(lines, key=lambda line: line[select.name])
    return {name: value for name, value in line.items() if isinstance(value, int | float)}


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and 95 % interval of a score over seeds."""
    if len(values) < 2:
        return Spread(float(values[0]), 0.0, math.nan)
    from scipy.stats import t

    deviation = float(np.std(values, ddof=1))
    margin = float(t.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))
    return Spread(float(np.mean(values)), deviation, margin)
