"""Preparation as Apache Beam pipelines: the same functions on the same blocks, so the same bytes.

Blocks travel through Beam; what becomes of them is written to the folder of the preparation, which all workers must
share. Between the pipelines, this process decides what is kept, and makes the vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from bert_jax.data.corpus.stages import Place, Preparation
from bert_jax.data.sources.open import Input
from bert_jax.errors import UsageError, UserError


class BeamEngine:
    """Runs the steps of a preparation on Beam, with its pipeline `options` ("--runner=FlinkRunner", ...).

    Raises:
      UserError: Beam is not installed.
      UsageError: a word is no option.
    """

    def __init__(self, options: Sequence[str] = ()):
        try:
            from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
        except ImportError as error:
            raise UserError("--beam needs Apache Beam: pip install 'bert_jax[beam]'") from error
        unknown = [word for word in options if not word.startswith("--")]
        if unknown:
            raise UsageError(
                f"--beam: {unknown[0]!r} must be a pipeline option, such as --runner=DirectRunner"
            )
        self._options = PipelineOptions(list(options))
        if self._options.view_as(StandardOptions).runner is None:
            self._options.view_as(StandardOptions).runner = "DirectRunner"

    def scan(self, work: Preparation, inputs: Sequence[Input]) -> None:
        self._run(work.unread(inputs), lambda source: work.blocks(source), work.scan)

    def encode(self, work: Preparation, places: Sequence[Place]) -> None:
        self._run(work.unencoded(places), lambda place: [place], work.encode)

    def _run(
        self, tasks: Sequence[Any], parts: Callable[[Any], Any], function: Callable[[Any], None]
    ) -> None:
        """Applies `function` to all parts of all tasks, each wherever a worker is free."""
        if not tasks:
            return
        import apache_beam as beam

        try:
            with beam.Pipeline(options=self._options) as pipeline:
                _ = (
                    pipeline
                    | "tasks" >> beam.Create(list(tasks), reshuffle=True)
                    | "parts" >> beam.FlatMap(parts)
                    | "spread" >> beam.Reshuffle()
                    | "work" >> beam.Map(function)
                )
        except Exception as error:  # runners wrap what a worker raised, each in its own way
            fault = re.search(r"UserError: (.+)", f"{type(error).__name__}: {error}")
            if not fault:
                raise
            raise UserError(fault[1].partition(" [while running")[0]) from error
