"""A student that also learns from frozen teachers: a task around the task of the student.

Whatever the student is, a masked language model or one with a task head, its data, phases and scores are those of its own
task; the teachers are constants of the step, or with config.distil.cache their outputs are fields of the batch.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.batch import BatchSource, Host, Split
from bert_jax.config import DistilRun, ModelConfig
from bert_jax.errors import ConfigError
from bert_jax.models import bert
from bert_jax.models.flops import training_flops
from bert_jax.models.parameters import TABLE, Parameter, flatten
from bert_jax.models.teacher import trimmed
from bert_jax.objectives.distillation import SoftKind, distillation
from bert_jax.objectives.sums import Objective
from bert_jax.tasks.comparison import Comparison
from bert_jax.tasks.finetuning import Finetuning
from bert_jax.tasks.kept_by_example import KeptByExamples
from bert_jax.tasks.kept_by_step import KeptBySteps
from bert_jax.tasks.pretraining import Pretraining
from bert_jax.tasks.saved_run import PROJECTION
from bert_jax.tasks.teacher_cache import TeacherCache
from bert_jax.tasks.teachers import Found, check, digest, save_teachers
from bert_jax.training.task import Metric, Params, Phase, Task


class Distillation(Task):
    """`student` with losses that compare it with `found`.

    Raises:
      ConfigError: losses that need two models to be alike where they are not.
      UserError: a teacher without the head that a loss reads, with parameters that are not finite, with another
        vocabulary or too few positions.
    """

    name = "distill"
    table = TABLE.with_rows(
        Parameter(path=f"{PROJECTION}/projection/kernel", axes="Dd", kind="matrix"),
        Parameter(path=f"{PROJECTION}/projection/bias", axes="d", kind="vector"),
    )

    def __init__(self, student: Pretraining | Finetuning, found: Sequence[Found]):
        self.student = student
        self.distil = cast(DistilRun, student.config).distil
        self.config = student.config
        self.found = tuple(found)
        self.soft_kind: SoftKind = student.head_kind if isinstance(student, Finetuning) else "mlm"  # type: ignore[assignment]
        check(student, found)
        self.comparison = Comparison(
            self.distil, self.model, _as_read(found[0].model.config, self), self.soft_kind
        )
        faults = list(self.comparison.faults())
        if faults:
            raise ConfigError(faults)
        needs = self.comparison.teacher_needs()
        self.teachers = tuple(
            trimmed(_as_read(model.config, self), model.params, needs, dtype=self.distil.teacher_dtype)
            for _, model in found
        )

    @property
    def places(self) -> list[str]:
        """The teachers' names for messages."""
        return [str(found.source) for found in self.found]

    @property
    def model(self) -> ModelConfig:
        """The student's architecture."""
        return self.student.model

    @property
    def select(self) -> Metric:  # type: ignore[override]
        return self.student.select

    @property
    def scores_own(self) -> bool:
        """Whether the student's own predictions are computed: not where neither labels nor predictions are learnt from a
        corpus."""
        return bool(self.distil.hard or self.distil.soft) or isinstance(self.student, Finetuning)

    @property
    def objective(self) -> Objective:
        return self._objective(self.student.objective, self.model)

    def objective_in(self, phase: Phase) -> Objective:
        if isinstance(self.student, Finetuning):
            return self.objective
        student = self.student.within(self.student.phases[self.phases.index(phase)])
        return self._objective(student.objective, student.model)

    def _objective(self, own: Objective, model: ModelConfig) -> Objective:
        """own: of the student without a teacher."""
        heads = () if isinstance(self.student, Finetuning) else None
        apply = functools.partial(
            bert.BertWithHeads(model, heads).apply, record=self.comparison.student_record()
        )

        def student(params: Any, batch: Any, dropout_key: Any) -> Any:
            own = {name: part for name, part in params.items() if name != PROJECTION}
            return apply({"params": own}, batch, dropout_key=dropout_key)

        def teachers(constants: Any, batch: Any) -> list[Any]:
            if self._kept is not None:
                return list(self._kept.outputs(batch))
            return [teacher(constants[_name(number)], batch) for number, teacher in enumerate(self.teachers)]

        return distillation(
            own,
            self.comparison.losses(),
            student=student,
            teachers=teachers,
            hard=self.distil.hard,
            every_token=bool(self.distil.soft) and self.distil.soft_at == "all",
            scores_base=self.scores_own,
        )

    def init(self, key: jax.Array) -> Params:
        params = self.student.init(key)
        if not self.distil.hidden_mse:
            return params
        shape = (self.model.hidden_size, self.comparison.teacher.hidden_size)
        own = jax.random.fold_in(key, 2**31)  # no key of the student's own is folded in so
        kernel = self.model.initializer_range * jax.random.truncated_normal(own, -2, 2, shape)
        return {
            **params,
            PROJECTION: {"projection": {"kernel": kernel, "bias": jnp.zeros(shape[1])}},
        }

    def constants(self) -> Params:
        if self._kept is not None:  # the batches hold the teachers' outputs
            return {}
        return {_name(number): teacher.params for number, teacher in enumerate(self.teachers)}

    @functools.cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The student's, with the teachers' forward passes; heads that nothing trains stay as they are."""
        frozen = self._untrained_heads()
        return tuple(
            dataclasses.replace(
                phase, flops=phase.flops + self._teacher_flops(phase), frozen=(*phase.frozen, *frozen)
            )
            for phase in self._rows.phases
        )

    @functools.cached_property
    def _kept(self) -> KeptBySteps | KeptByExamples | None:
        """The rows with the teachers' outputs; None: a step computes them."""
        if not self.distil.cache:
            return None
        if isinstance(self.student, Finetuning):
            return KeptByExamples(
                self.student, self.teachers, self.distil, digests=self.digests, places=self.places
            )
        return KeptBySteps(
            self.student, self.teachers[0], self.comparison, digest=self.digests[0], place=self.places[0]
        )

    @property
    def _rows(self) -> Pretraining | Finetuning | KeptBySteps | KeptByExamples:
        """What phases and batches come from."""
        return self.student if self._kept is None else self._kept

    @property
    def cache(self) -> TeacherCache | None:
        """What is kept of the teachers' outputs; None: nothing is."""
        return None if self._kept is None else self._kept.cache

    def _untrained_heads(self) -> tuple[str, ...]:
        """Patterns of the heads that no loss reaches, which weight decay would wear down."""
        untrained = []
        if not self.distil.hard:
            untrained.append("^pair_head/")
            if self.soft_kind == "mlm":
                untrained.append("^bert/pooler/")
        if not self.distil.hard and not self.distil.soft:
            untrained += ["^mlm_head/", "^task_head/", "^bert/pooler/"]
        paths = flatten(jax.eval_shape(self.student.init, jax.random.key(0)))
        return tuple(
            pattern for pattern in dict.fromkeys(untrained) if any(re.search(pattern, p) for p in paths)
        )

    def _teacher_flops(self, phase: Phase) -> float:
        """A forward pass is a third of a training step; with a cache a step has none."""
        if self._kept is not None:
            return 0.0
        length = phase.spec.length
        slots = length if self.distil.soft_at == "all" else phase.spec.sizes.get("M", 0)
        rows = phase.tokens / length if phase.tokens else phase.batch_size
        each = (
            training_flops(teacher.config, length=length, slots=slots, heads=teacher.heads) / 3
            for teacher in self.teachers
        )
        return rows * sum(each)

    @property
    def identity(self) -> Mapping[str, str]:
        return {**self.student.identity, "teacher": "+".join(self.digests)}

    @functools.cached_property
    def digests(self) -> list[str]:
        """Of each teacher's architecture and parameters."""
        return [digest(found) for found in self.found]

    def batches(self, split: Split, phase: Phase, host: Host) -> BatchSource | None:
        return self._rows.batches(split, self._rows.phases[self.phases.index(phase)], host)

    def score(self, predictions: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        return self.student.score(predictions)

    def save(self, workdir: Path) -> None:
        self.student.save(workdir)
        save_teachers(workdir, self.found)


def _name(number: int) -> str:
    return f"teacher_{number}"


def _as_read(config: ModelConfig, task: Distillation) -> ModelConfig:
    """A teacher's architecture with the head that losses read: of vectors, which need no parameters, the student's."""
    if task.soft_kind == "embedding" and config.head.kind != "embedding":
        return dataclasses.replace(config, head=task.model.head)
    return config
