"""The checkpoints of a workdir: which there are, their parameters, and the encoders in these."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from bert_jax.config import FinetuneConfig, ModelConfig, PretrainConfig, RunConfig
from bert_jax.config.phases import config_at
from bert_jax.errors import UserError
from bert_jax.interop import native
from bert_jax.models import bert
from bert_jax.tasks.choose import select_of, task_of
from bert_jax.tasks.pretraining import ALONE
from bert_jax.training import workdir as workdirs
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.task import Metric, Params

PROJECTION = "distil"
"""The part of a distilled run's parameters that its student does without."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedRun:
    """A workdir, opened to be read."""

    directory: Path
    select: Metric
    """what the best checkpoint has the best of"""
    init: Callable[[jax.Array], Params]
    """fresh parameters of the run, for their shapes"""
    encoders_at: Callable[[int], Mapping[str, ModelConfig]]
    """the architecture of every encoder of a checkpoint, the one to keep first: its phase may say the rotary bases"""
    apart: Callable[[Params], Mapping[str, Params]]
    """the run's parameters -> those of every encoder"""
    kind: str
    """what the run is, for the message that it lacks an encoder"""

    def name_of(self, part: str | None) -> str:
        """The name of an encoder; None: of the one to keep.

        Raises:
          UserError: the run has no such encoder.
        """
        if part is None:
            return next(iter(self.encoders_at(0)))
        if part not in self.encoders_at(0):
            raise UserError(f"{self.directory}: has no {part}: {self.kind}")
        return part

    def choose(self, *names: str) -> tuple[int, ...]:
        """The steps that "last", "best" or numbers name, one each.

        Raises:
          UserError: there is no such checkpoint.
        """
        with self._opened() as checkpoints:
            return tuple(map(checkpoints.choose, names))

    def steps(self) -> Sequence[int]:
        """Of every checkpoint that is there, in order."""
        with self._opened() as checkpoints:
            return checkpoints.steps()

    def params(self, step: int) -> Params:
        """All parameters of a checkpoint, on the first device."""
        device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
            jax.eval_shape(self.init, jax.random.key(0)),
        )
        with self._opened() as checkpoints:
            return checkpoints.restore_params(abstract, step, without=(PROJECTION,))

    def _opened(self) -> Checkpoints:
        folder = self.directory / "checkpoints"
        if not folder.is_dir():
            raise UserError(f"{self.directory} has no checkpoints: the run saved none yet")
        return Checkpoints(folder, select=self.select, read_only=True)


def open_run(directory: Path) -> SavedRun:
    """The run of a workdir. Touches no device, and neither corpus nor data.

    Raises:
      UserError: it is no workdir.
    """
    saved = workdirs.read(directory, RunConfig).config
    if isinstance(saved, FinetuneConfig):
        model, _ = native.read_config(directory)
        return SavedRun(
            directory=directory,
            select=select_of(saved),
            init=functools.partial(bert.init_params, model, heads=()),
            encoders_at=lambda step: {ALONE: model},
            apart=_alone,
            kind="a fine-tuned model is one encoder",
        )
    config = workdirs.read(directory, PretrainConfig).config
    task = task_of(config)
    return SavedRun(
        directory=directory,
        select=task.select,
        init=task.init,
        encoders_at=lambda step: task_of(config_at(config, step)).encoders,
        apart=task.apart,
        kind=f"the run has objective.name={config.objective.name}, not rtd",
    )


def _alone(params: Any) -> dict[str, Any]:
    return {ALONE: params}
