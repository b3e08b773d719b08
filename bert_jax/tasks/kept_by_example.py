"""A student's labelled data with its teachers' scores of every example.

Rows are packed anew in each epoch, and the outputs of an example do not depend on what shares its row, so they are kept by
example, as features that become fields of every batch. All scores are kept: only their type can change them.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from bert_jax.batch import BatchSource, Host, Split
from bert_jax.models import bert
from bert_jax.models.teacher import Teacher
from bert_jax.objectives.distillation import PREDICTIONS
from bert_jax.progress import bar
from bert_jax.tasks.finetuning import Finetuning
from bert_jax.tasks.teacher_cache import TeacherCache, TeacherProgram, teacher_key
from bert_jax.training import processes
from bert_jax.training.task import Phase

if TYPE_CHECKING:
    from bert_jax.config import DistilConfig
    from bert_jax.data.labelled.features import Features


class KeptByExamples:
    """The phases and batches of `student`, with the scores of `teachers` as fields.

    digests: of the teachers' architectures and parameters. places: their names for messages.
    """

    def __init__(
        self,
        student: Finetuning,
        teachers: Sequence[Teacher],
        distil: DistilConfig,
        *,
        digests: Sequence[str],
        places: Sequence[str],
    ):
        self._student, self._teachers, self._digests = student, teachers, digests
        self._field = PREDICTIONS[student.head_kind]  # type: ignore[index]
        self.cache = TeacherCache(distil, unit="sequences")
        self._programs = [
            TeacherProgram(teacher, self._take, dtype=self.cache.dtype, place=place)
            for teacher, place in zip(teachers, places, strict=True)
        ]

    @functools.cached_property
    def _scored(self) -> Finetuning:
        """The student's task on features with the scores; runs the teachers over what is not kept."""
        student = self._student
        data = student.data._replace(
            train=self._with_scores(student.data.train), eval=self._with_scores(student.data.eval)
        )
        return type(student)(student.config, student.model, student.tokenizer, data)

    @property
    def phases(self) -> tuple[Phase, ...]:
        return self._scored.phases

    def batches(self, split: Split, phase: Phase, host: Host) -> BatchSource | None:
        return self._scored.batches(split, phase, host)

    def outputs(self, batch: Any) -> list[bert.Output]:
        """Every teacher's, with its scores alone."""
        return [
            bert.Output(
                hidden_states=(), internals={}, decoder_BLD=None,  # type: ignore[arg-type]
                **{self._field: batch[f"{_prefix(number)}{self._field}"]},
            )
            for number in range(len(self._teachers))
        ]  # fmt: skip

    def _take(self, teacher: Teacher, params: Any, batch: Any) -> dict[str, jax.Array]:
        return {self._field: getattr(teacher(params, batch), self._field)}

    def _with_scores(self, features: Features | None) -> Features | None:
        from bert_jax.data.step_files import rows_checksum

        if features is None:
            return None
        found = {}
        for number, (teacher, digest) in enumerate(zip(self._teachers, self._digests, strict=True)):
            key = {**teacher_key(teacher, digest), "examples": _digest(features)}
            files = self.cache.files(key, (self._field,))
            rows = rows_checksum(vars(features), ("tokens_T", "type_ids_T", "lengths_S"))
            compute = functools.partial(self._scores, self._programs[number], features)
            scores = self.cache.outputs(files, 0, rows, compute, count=len(features.lengths_S))
            files.flush()
            found[f"{_prefix(number)}{self._field.replace('_B', '_')}"] = scores[self._field]
        if self._is_of_tokens:
            return dataclasses.replace(features, of_tokens={**features.of_tokens, **found})
        return dataclasses.replace(features, of_sequences={**features.of_sequences, **found})

    @property
    def _is_of_tokens(self) -> bool:
        return "L" in self._field.rpartition("_")[2]

    def _scores(self, program: TeacherProgram, features: Features) -> dict[str, np.ndarray]:
        """The teacher's scores of every sequence [S, ...], or of every token [T, ...]."""
        from bert_jax.data.labelled.batches import EvaluationBatches, Layout

        config = self._student.config
        layout = Layout.of(features, batching="pack", batch_size=config.train.batch_size)
        source = EvaluationBatches(
            features, layout, batch_size=config.train.batch_size, host=Host(multiple=jax.local_device_count())
        )
        scores: np.ndarray | None = None
        size = len(features.tokens_T if self._is_of_tokens else features.lengths_S)
        steps = source.iterate(0, source.count)
        for batch in bar(steps, description="teacher", total=source.count, unit="batches", delay=1.0):
            values = program(batch)[self._field]  # type: ignore[arg-type]
            processes.heartbeat("a batch of the teacher")
            if scores is None:
                scores = np.zeros((size, *values.shape[2:]), values.dtype)
            is_there, places = (_tokens if self._is_of_tokens else _sequences)(batch, features)
            scores[places] = values[is_there]
        assert scores is not None, "features have a sequence"
        return {self._field: scores}


def _prefix(number: int) -> str:
    return f"teacher{number}_"


def _sequences(batch: Any, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """(where the batch has a sequence, bool [B, P]; which of the features each is)."""
    is_there_BP = batch["features_BP"] >= 0
    return is_there_BP, batch["features_BP"][is_there_BP]


def _tokens(batch: Any, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """(where the batch has a token, bool [B, L]; which of the features' tokens each is)."""
    is_there_BL = batch["pack_ids_BL"] > 0
    row_X = np.nonzero(is_there_BL)[0]
    sequence_X = batch["features_BP"][row_X, batch["pack_ids_BL"][is_there_BL] - 1]
    return is_there_BL, features.starts_S[sequence_X] + batch["positions_BL"][is_there_BL]


def _digest(features: Features) -> str:
    """Of the texts as the model reads them."""
    sha = hashlib.sha256(str(features.parts).encode())
    for array in (features.tokens_T, features.type_ids_T, features.lengths_S):
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()[:32]
