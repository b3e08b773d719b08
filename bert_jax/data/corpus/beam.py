"""Preparation as Apache Beam pipelines: the same functions on the same blocks, so the same bytes.

Blocks travel through Beam; what they become is written to the folder of the preparation, which all workers must
share. Between the pipelines, this process decides what is kept, and makes the vocabulary.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bert_jax import atomic
from bert_jax.data.corpus.stages import BlockId, Stages
from bert_jax.data.sources.open import Input
from bert_jax.errors import UsageError, UserError


class BeamEngine:
    """Runs the stages of a preparation on Beam, with its pipeline `options` ("--runner=FlinkRunner ...").

    Raises:
      UsageError: `options` cannot be split, or a word of it is not an option.
      UserError: Beam is not installed.
    """

    def __init__(self, options: str = ""):
        try:
            words = shlex.split(options)
        except ValueError as error:
            raise UsageError(f"--beam={options}: {error}; close the quotation") from error
        for word in words:
            if not word.startswith("--"):
                raise UsageError(f"--beam: {word!r} must be a pipeline option, such as --runner=DirectRunner")
        try:
            from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
        except ImportError as error:
            raise UserError("--beam needs Apache Beam: pip install 'bert_jax[beam]'") from error
        self._options = PipelineOptions(words)
        if self._options.view_as(StandardOptions).runner is None:
            self._options.view_as(StandardOptions).runner = "DirectRunner"

    def clean(self, stages: Stages, inputs: Sequence[Input]) -> None:
        self._run(stages.unread(inputs), _Faults(stages.folder, stages.blocks, stages.clean))

    def encode(self, stages: Stages, ids: Sequence[BlockId]) -> None:
        self._run(stages.unencoded(ids), _Faults(stages.folder, _alone, stages.encode))

    def _run(self, tasks: Sequence[Any], work: _Faults) -> None:
        """Applies `work` to all parts of all tasks, each wherever a worker is free.

        Raises:
          UserError: a worker's; of several, the first in the order of their text.
        """
        if not tasks:
            return
        import apache_beam as beam

        work.file.unlink(missing_ok=True)
        with beam.Pipeline(options=self._options) as pipeline:
            _ = (
                pipeline
                | "tasks" >> beam.Create(list(tasks), reshuffle=True)
                | "parts" >> beam.FlatMap(work.parts)
                | "spread" >> beam.Reshuffle()
                | "work" >> beam.FlatMap(work.apply)
                | "first fault" >> beam.combiners.Top.Smallest(1)
                | "keep it" >> beam.Map(work.keep)
            )
        if work.file.exists():
            fault = work.file.read_text(encoding="utf-8")
            work.file.unlink()
            raise UserError(fault)


@dataclasses.dataclass(frozen=True)
class _Fault:
    """The text of a UserError: runners wrap what a worker raises, each in its own way, but pass values on."""

    text: str


@dataclasses.dataclass(frozen=True)
class _Faults:
    """Two functions of a worker, `parts_of` a task and `function` of a part, their UserErrors turned into values."""

    folder: Path
    parts_of: Callable[[Any], Iterable[Any]]
    function: Callable[[Any], None]

    @property
    def file(self) -> Path:
        """How the fault comes back to the driver: Beam has no other way that all runners share."""
        return self.folder / "fault.txt"

    def parts(self, task: Any) -> Iterator[Any]:
        try:
            yield from self.parts_of(task)
        except UserError as error:
            yield _Fault(str(error))

    def apply(self, part: Any) -> list[str]:
        """The text of each fault: of none or one."""
        if isinstance(part, _Fault):
            return [part.text]
        try:
            self.function(part)
        except UserError as error:
            return [str(error)]
        return []

    def keep(self, faults: list[str]) -> None:
        if faults:
            atomic.write_text(self.file, faults[0])


def _alone(task: Any) -> list[Any]:
    return [task]
