"""What the trainer knows of a run: a task.

The trainer drives any task: it knows neither text nor files nor families of models. A new one is a subclass in
`bert_jax.tasks` with an `Objective` of `bert_jax.objectives`, and nothing else changes.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

from bert_jax.batch import BatchSource, BatchSpec, Host, Split
from bert_jax.hub import Source
from bert_jax.models.parameters import TABLE, ParameterTable
from bert_jax.objectives.sums import Objective

Params = Any
"""Nested dictionaries of arrays."""


class Metric(NamedTuple):
    """A held-out measure, and which of two values is better."""

    name: str
    better: Literal["min", "max"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """Steps `start` to `stop` - 1 of a run, which share one compiled program."""

    start: int
    stop: int
    batch_size: int
    """examples of one update over all devices and hosts; of pretraining rows"""
    spec: BatchSpec
    """the batches of this phase"""
    flops: float
    """model FLOPs of one step, matrix products alone; backward counts as twice forward"""
    packed: bool = False
    """whether a batch has as many rows as its examples need, a multiple of `Host.multiple`; otherwise `batch_size`"""
    tokens: float = 0.0
    """token slots of a step, the mean of all; 0: `batch_size` rows of the spec's length"""
    first_row: int = 0
    """rows of the run before this phase"""
    frozen: tuple[str, ...] = ()
    """regular expressions of the paths of parameters that stay as they are"""
    evaluation: int = 0
    """held-out scores compare between phases with the same number; a larger one makes a better checkpoint"""


class InitReport(Protocol):
    """What of other models went into the parameters that a run begins with."""

    def lines(self) -> list[str]:
        """For a terminal."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        ...


StartFrom = Callable[[tuple[Source, ...], Callable[[], Params]], tuple[Params, InitReport]]
"""(directories of models, a function that gives fresh NumPy parameters) -> the parameters of a new run, on the host,
and what was taken. It calls the function once everything that needs no device has been checked."""


class Task(abc.ABC):
    """What is trained. Each is made of a configuration alone; data is opened at its first use."""

    name: str
    """what a workdir and the progress bar call it"""
    table: ParameterTable = TABLE
    """covers every parameter that `init` and `constants` give"""
    select: Metric = Metric("loss", "min")
    """what the best checkpoint has the best of"""

    @property
    @abc.abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """From step 0 to the last, without a gap."""

    @property
    @abc.abstractmethod
    def objective(self) -> Objective:
        """What is minimised, and every metric."""

    def objective_in(self, phase: Phase) -> Objective:
        """What is minimised in a phase: another function where the phase changes the model, with the same metrics."""
        return self.objective

    @abc.abstractmethod
    def init(self, key: jax.Array) -> Params:
        """Fresh float32 parameters; also called under `eval_shape`."""

    @abc.abstractmethod
    def batches(self, split: Split, phase: Phase, host: Host) -> BatchSource | None:
        """The batches of a phase: by global step for "train", one fixed pass for "eval"; None: nothing is held out."""

    @property
    def identity(self) -> Mapping[str, str]:
        """Digests of what a workdir is bound to besides its configuration: corpus, data set, vocabulary, teacher."""
        return {}

    def constants(self) -> Params:
        """Parameters that a step reads and that are neither trained, donated nor saved, such as a teacher's."""
        return {}

    def score(self, predictions: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Scores of a whole evaluation set that do not add, from the objective's predictions [rows, ...]."""
        return {}

    def save(self, workdir: Path) -> None:
        """Writes what belongs beside the checkpoints, such as the tokenizer. Process 0 alone calls it."""
        return None
