"""A student's batches of a corpus with what is kept of its teacher's outputs, step by step.

A batch is a pure function of (config, seed, step), so outputs that are kept by step are those of the same rows with the
same masks: of every run with these data, masks and seed, whatever its student, learning rate or losses.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.batch import Batch, BatchSource, BatchSpec, Host, Split
from bert_jax.models.teacher import Teacher
from bert_jax.objectives.kept import KeptOutput
from bert_jax.tasks.comparison import Comparison
from bert_jax.tasks.pretraining import Pretraining
from bert_jax.tasks.teacher_cache import TeacherCache, TeacherProgram, teacher_key
from bert_jax.training.task import Phase

if TYPE_CHECKING:
    from bert_jax.data.step_files import StepFiles

_READ = ("tokens_BL", "type_ids_BL", "pack_ids_BL", "positions_BL", "mlm_positions_BM")
"""The fields of a batch that decide a teacher's outputs."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """What the losses of `comparison` read of a teacher, as fields of a batch: the largest logits of each prediction, and
    hidden states.

    Axes besides those of every batch: K the logits kept of a prediction, D the teacher's width.
    """

    comparison: Comparison

    @property
    def fields(self) -> dict[str, type]:
        distil, teacher = self.comparison.distil, self.comparison.teacher
        dtype = {"float16": np.float16, "float32": np.float32}[distil.cache_type]
        fields: dict[str, type] = {self._state(number): dtype for number in self.comparison.teacher_states}
        if distil.soft:
            small = teacher.vocab_size <= np.iinfo(np.uint16).max + 1
            fields |= {self._logits: dtype, self._ids: np.uint16 if small else np.int32}
        return fields

    def spec(self, spec: BatchSpec) -> BatchSpec:
        """A student's spec with the fields."""
        sizes = {"K": self.comparison.distil.cache_top, "D": self.comparison.teacher.hidden_size}
        return BatchSpec({**spec.fields, **self.fields}, {**spec.sizes, **sizes})

    @property
    def key(self) -> dict[str, Any]:
        """What decides the fields besides teacher and rows, for JSON; their names say which states they are."""
        distil = self.comparison.distil
        return {"top": distil.cache_top, "soft_at": distil.soft_at} if distil.soft else {}

    def take(self, teacher: Teacher, params: Any, batch: Any) -> dict[str, jax.Array]:
        """The fields, computed under jit."""
        distil = self.comparison.distil
        if distil.soft_at == "all":
            places_BL = jnp.broadcast_to(jnp.arange(batch["tokens_BL"].shape[1]), batch["tokens_BL"].shape)
            batch = {**batch, "mlm_positions_BM": places_BL}
        output = teacher(params, batch)
        found = {
            self._state(number): output.hidden_states[number] for number in self.comparison.teacher_states
        }
        if distil.soft:
            logits_BMV = output.mlm_logits_BMV.astype(jnp.float32)  # type: ignore[union-attr]
            found[self._logits], ids_BMK = jax.lax.top_k(logits_BMV, distil.cache_top)
            found[self._ids] = ids_BMK.astype(self.fields[self._ids])
        return found

    def output(self, batch: Any) -> KeptOutput:
        """What the losses read, of a batch with the fields."""
        states = {number: batch[self._state(number)] for number in self.comparison.teacher_states}
        if not self.comparison.distil.soft:
            return KeptOutput(states, None, None)
        return KeptOutput(states, batch[self._logits], batch[self._ids].astype(jnp.int32))

    @staticmethod
    def _state(number: int) -> str:
        return f"teacher_state{number}_BLD"

    @property
    def _places(self) -> str:
        return "BLK" if self.comparison.distil.soft_at == "all" else "BMK"

    @property
    def _logits(self) -> str:
        return f"teacher_logits_{self._places}"

    @property
    def _ids(self) -> str:
        return f"teacher_ids_{self._places}"


class KeptBySteps:
    """The phases and batches of `student`, with the fields of `Kept`.

    digest: of the teacher's architecture and parameters. place: its name for messages.
    """

    def __init__(
        self, student: Pretraining, teacher: Teacher, comparison: Comparison, *, digest: str, place: str
    ):
        self._student, self._kept = student, Kept(comparison)
        self.cache = TeacherCache(comparison.distil, unit="steps")
        self._compute = TeacherProgram(teacher, self._kept.take, dtype=self.cache.dtype, place=place)
        self._key = teacher_key(teacher, digest)

    @functools.cached_property
    def phases(self) -> tuple[Phase, ...]:
        return tuple(
            dataclasses.replace(phase, spec=self._kept.spec(phase.spec)) for phase in self._student.phases
        )

    def batches(self, split: Split, phase: Phase, host: Host) -> BatchSource | None:
        own = self._student.phases[self.phases.index(phase)]
        source = self._student.batches(split, own, host)
        if source is None:
            return None
        key = {**self._key, **self._kept.key, **self._student.rows_key(split, own, host)}
        files = self.cache.files(key, tuple(self._kept.fields), share=host.count)
        return _Batches(source, self.cache, files, self._compute)

    def outputs(self, batch: Any) -> list[KeptOutput]:
        """The teacher's, in a list as of several."""
        return [self._kept.output(batch)]


class _Batches:
    """`source` with the outputs of `compute`, kept in `files`."""

    def __init__(self, source: BatchSource, cache: TeacherCache, files: StepFiles, compute: TeacherProgram):
        self._source, self._cache, self._files, self._compute = source, cache, files, compute

    @property
    def count(self) -> int:
        return self._source.count

    @property
    def rows(self) -> int:
        return self._source.rows

    def iterate(self, start: int, stop: int) -> Iterator[Batch]:
        from bert_jax.data.step_files import rows_checksum

        try:
            for step, batch in enumerate(self._source.iterate(start, stop), start):
                compute = functools.partial(self._compute, batch)
                found = self._cache.outputs(self._files, step, rows_checksum(batch, _READ), compute)
                yield {**batch, **found}  # type: ignore[typeddict-item]
        finally:  # also where no further batch is asked for, as when a run is stopped
            self._files.flush()
