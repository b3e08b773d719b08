"""The mean of the parameters of several checkpoints of a run: one model, often better than each of them.

Izmailov et al. 2018 (stochastic weight averaging); ModernBERT's final base model is such a mean (Warner et al. 2024,
appendix).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bert_jax.errors import UserError
from bert_jax.tasks.evaluate import Scorer
from bert_jax.tasks.load import LoadedModel, tokenizer_of
from bert_jax.tasks.saved_run import SavedRun, open_run
from bert_jax.training.task import Metric, Params

_LAST = "last:"


class Averaged(NamedTuple):
    """The mean of checkpoints, and what it was made of."""

    steps: tuple[int, ...]
    """of the checkpoints, in order"""
    params: Params
    """all parameters of the run, float32 NumPy"""
    model: LoadedModel
    """one of its encoders"""


class Comparison(NamedTuple):
    """Held-out scores of checkpoints and of their mean, all on the same rows."""

    select: Metric
    """the score that tells the better"""
    checkpoints: Mapping[int, Mapping[str, float]]
    """by step"""
    average: Mapping[str, float]

    @property
    def best(self) -> float:
        """The best score of a single checkpoint."""
        values = [scores[self.select.name] for scores in self.checkpoints.values()]
        return max(values) if self.select.better == "max" else min(values)


def average(workdir: Path, checkpoints: Sequence[str], *, part: str | None = None) -> Averaged:
    """The mean of checkpoints, computed in float64 on the host.

    Args:
      checkpoints: two or more of the run's: steps, "best", "last", or "last:N" for the last N.
      part: of a run that trains several encoders, which; None: the one to keep.

    Raises:
      UserError: no workdir; a checkpoint or an encoder that is not there; one checkpoint alone.
    """
    run = open_run(workdir)
    name, steps = run.name_of(part), _steps(run, checkpoints)
    params = _mean(run, steps)
    config = run.encoders_at(steps[-1])[name]
    # The encoders of a run may be sums of its parameters: linear, so that the mean may be taken before.
    model = LoadedModel(config, run.apart(params)[name], tokenizer_of(workdir, config), None)
    return Averaged(steps, params, model)


def compare(workdir: Path, averaged: Averaged) -> Comparison:
    """Scores each checkpoint and the mean, as `evaluate` does.

    Raises:
      UserError: nothing was held out, or the corpus or the data is gone or changed.
    """
    scorer, run = Scorer(workdir), open_run(workdir)

    def scores(params: Params, step: int) -> Mapping[str, float]:
        placed = scorer.trainer.plan.place_constants(jax.device_get(params))
        return scorer.score(placed, step).scores

    each = {step: scores(run.params(step), step) for step in averaged.steps}
    return Comparison(scorer.select, each, scores(averaged.params, averaged.steps[-1]))


def _steps(run: SavedRun, names: Sequence[str]) -> tuple[int, ...]:
    """The steps that `names` stand for, each once, in order."""
    found: set[int] = set()
    for name in names:
        count = name.removeprefix(_LAST)
        if name.startswith(_LAST) and count.isdecimal():
            found.update(_last(run, int(count)))
        else:
            found.update(run.choose(name))
    if len(found) < 2:
        shown = ", ".join(map(str, run.steps()))
        raise UserError(
            f"checkpoints {','.join(names)} must name two or more different ones in {run.directory}: there are {shown};"
            " config.checkpoint.keep says how many stay"
        )
    return tuple(sorted(found))


def _last(run: SavedRun, count: int) -> Sequence[int]:
    steps = run.steps()
    if not 0 < count <= len(steps):
        raise UserError(
            f"checkpoints {_LAST}{count} must be 1 to {len(steps)} in {run.directory}: there are"
            f" {', '.join(map(str, steps)) or 'none'}; config.checkpoint.keep says how many stay"
        )
    return steps[-count:]


def _mean(run: SavedRun, steps: Sequence[int]) -> Any:
    """One checkpoint after another is added, so that no more than one lies beside the sum."""
    total: Any = None
    for step in steps:
        params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), run.params(step))
        total = params if total is None else jax.tree.map(np.add, total, params)
    return jax.tree.map(lambda leaf: (leaf / len(steps)).astype(np.float32), total)
