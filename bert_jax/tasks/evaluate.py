"""Held-out scores of a workdir's checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bert_jax.config import FinetuneConfig, PretrainConfig, RunConfig
from bert_jax.errors import UserError
from bert_jax.objectives.sums import means
from bert_jax.tasks import finetune
from bert_jax.tasks.choose import task_of
from bert_jax.tasks.finetuning import Finetuning
from bert_jax.tasks.load import choose_checkpoint
from bert_jax.tasks.predicted import Confusion, Judged
from bert_jax.tasks.pretraining import Pretraining
from bert_jax.tasks.saved_run import PROJECTION
from bert_jax.training import workdir as workdirs
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.task import Metric
from bert_jax.training.trainer import Trainer

Scored = Literal["eval", "test"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found for the checkpoint of `step`."""

    step: int
    scores: Mapping[str, float]
    """means of every metric with the loss first, and the task's scores"""
    weights: Mapping[str, float]
    """what each mean is over: tokens, pairs"""
    judged: Sequence[Judged] = ()
    """of a fine-tuned run every example, in order"""
    confusion: Confusion | None = None
    """of a task with classes"""


def open_task(workdir: Path) -> Pretraining:
    """The task of a run, ready to be evaluated here, over the corpus that it was trained on.

    Raises:
      UserError: nothing was held out, or the corpus is gone or changed.
    """
    saved = workdirs.read(workdir, PretrainConfig)
    config = saved.config
    if not config.data.eval_fraction:
        raise UserError("config.data.eval_fraction=0: the run held no documents out to evaluate on")
    config = dataclasses.replace(config, model=config.model.on_these_devices())
    task = task_of(config)
    for name, digest in task.identity.items():
        if saved.identity.get(name) != digest:
            raise UserError(
                f"{task.shards.folder} has digest {digest}, the run was trained on {saved.identity.get(name)}"
            )
    return task


def _open_finetuned(workdir: Path, saved: workdirs.Saved, part: Scored, data: str) -> Finetuning:
    config = saved.config
    assert isinstance(config, FinetuneConfig)
    if data:
        config, part = dataclasses.replace(config, task=dataclasses.replace(config.task, test=data)), "test"
    if not getattr(config.task, part):
        raise UserError(f"config.task.{part}='': the run names no examples to score: name some by --data")
    task = finetune.open_task(config, workdir, (), part=part)
    task.model = task.model.on_these_devices()
    for name, digest in task.identity.items():
        if name != "test" and saved.identity.get(name) != digest:
            raise UserError(
                f"config.task.{name}: its content has digest {digest}, the run was made with"
                f" {saved.identity.get(name)}"
            )
    return task


class Scorer:
    """Scores parameters of a run; its rows are read and its program is compiled once.

    Args:
      part, data: as for `evaluate`, whose errors are raised.
    """

    def __init__(self, workdir: Path, *, part: Scored = "eval", data: str = ""):
        self._task = _open(workdir, part, data)
        self.trainer = Trainer.of(self._task, self._task.config)
        phase = self._task.phases[-1]
        source = self._task.batches("eval", phase, self.trainer.host())
        assert source is not None, "whoever opened the task saw that there are examples"
        self._evaluator = self.trainer.evaluator(source, phase)

    @property
    def select(self) -> Metric:
        """The score that tells the better of two checkpoints."""
        return self._task.select

    def score(self, params: Any, step: int) -> Evaluation:
        """params: of the whole run, on its devices. step: whose they are."""
        task = self._task
        sums, predictions = self._evaluator.run(params)
        found = Evaluation(
            step=step,
            scores={**task.objective.report(means(sums)), **task.score(predictions)},
            weights={name: float(weight) for name, (_, weight) in sums.items()},
        )
        if not isinstance(task, Finetuning):
            return found
        return dataclasses.replace(
            found, judged=task.judged(predictions), confusion=task.confusion(predictions)
        )


def _open(workdir: Path, part: Scored, data: str) -> Pretraining | Finetuning:
    saved = workdirs.read(workdir, RunConfig)
    if isinstance(saved.config, FinetuneConfig):
        return _open_finetuned(workdir, saved, part, data)
    if data or part != "eval":
        raise UserError(f"{workdir}: is a run of pretraining: it is scored on what it held out")
    return open_task(workdir)


def evaluate(workdir: Path, *, checkpoint: str = "last", part: Scored = "eval", data: str = "") -> Evaluation:
    """Evaluates a checkpoint on all held-out rows of the run's last phase, or of a fine-tuned run on labelled data.

    Args:
      part: of a fine-tuned run, config.task.eval or config.task.test.
      data: of a fine-tuned run, other labelled data, as config.task.test names it.

    Raises:
      UserError: no such checkpoint, nothing held out, or the corpus is gone or changed.
    """
    scorer = Scorer(workdir, part=part, data=data)
    step = choose_checkpoint(workdir, checkpoint)
    with Checkpoints(workdir / "checkpoints", select=scorer.select, read_only=True) as checkpoints:
        abstract = scorer.trainer.abstract_state().params
        params = checkpoints.restore_params(abstract, step, without=(PROJECTION,))
    return scorer.score(params, step)
