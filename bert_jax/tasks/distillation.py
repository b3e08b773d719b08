"""A student that also learns from frozen teachers: a task around the task of the student.

Whatever the student is, a masked language model or one with a task head, its data, phases and scores are those of its own
task; the teachers are constants of the step, or with config.distil.cache their outputs are fields of the batch.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax import atomic, hub
from bert_jax.batch import BatchSource, Host, Split
from bert_jax.config import DistilRun, ModelConfig
from bert_jax.errors import ConfigError, UserError
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
from bert_jax.tasks.load import PROJECTION, LoadedModel
from bert_jax.tasks.pretraining import Pretraining
from bert_jax.tasks.teacher_cache import TeacherCache
from bert_jax.training.task import Metric, Params, Phase, Task

TEACHER_FILE = "teacher.json"


class Found(NamedTuple):
    """A teacher as it was given and opened."""

    source: hub.Source
    model: LoadedModel


class Distillation(Task):
    """`student` with losses that compare it with `found`.

    Raises:
      ConfigError: losses that need two models to be alike where they are not, another vocabulary, too few positions.
      UserError: a teacher without the head that a loss reads, or with parameters that are not finite.
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
        heads = () if isinstance(self.student, Finetuning) else None
        apply = functools.partial(
            bert.BertWithHeads(self.model, heads).apply, record=self.comparison.student_record()
        )

        def student(params: Any, batch: Any, dropout_key: Any) -> Any:
            own = {name: part for name, part in params.items() if name != PROJECTION}
            return apply({"params": own}, batch, dropout_key=dropout_key)

        def teachers(constants: Any, batch: Any) -> list[Any]:
            if self._kept is not None:
                return list(self._kept.outputs(batch))
            return [teacher(constants[_name(number)], batch) for number, teacher in enumerate(self.teachers)]

        return distillation(
            self.student.objective,
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
        sources = [_plain(hub.pinned(found.source)) for found in self.found]
        atomic.write_text(workdir / TEACHER_FILE, json.dumps({"teachers": sources}, indent=1) + "\n")


def _name(number: int) -> str:
    return f"teacher_{number}"


def _plain(source: hub.Source) -> Any:
    return str(source.resolve()) if isinstance(source, Path) else dataclasses.asdict(source)


def saved_teachers(workdir: Path) -> tuple[hub.Source, ...]:
    """The teachers of the run in `workdir`; (): it holds none."""
    file = workdir / TEACHER_FILE
    if not file.is_file():
        return ()
    found = json.loads(file.read_text(encoding="utf-8"))["teachers"]
    return tuple(hub.ModelId(**entry) if isinstance(entry, dict) else Path(entry) for entry in found)


def digest(found: Found) -> str:
    """Of a teacher's architecture and parameters."""
    sha = hashlib.sha256(json.dumps(dataclasses.asdict(found.model.config), sort_keys=True).encode())
    for path, leaf in sorted(flatten(found.model.params).items()):
        sha.update(path.encode())
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return sha.hexdigest()[:16]


# ---------------------------------------------------------------------------------------------
# What a teacher must have
# ---------------------------------------------------------------------------------------------


def check(student: Pretraining | Finetuning, found: Sequence[Found]) -> None:
    """Raises the errors of `Distillation` that need no loss."""
    distil = cast(DistilRun, student.config).distil
    for source, model in found:
        broken = [path for path, leaf in flatten(model.params).items() if not np.isfinite(leaf).all()]
        if broken:
            raise UserError(f"--teacher {source}: {broken[0]} holds values that are not finite")
        if distil.soft:
            _check_head(student, source, model)
        _check_vocabulary(student, source, model)
        longest = (
            student.config.task.max_length
            if isinstance(student, Finetuning)
            else max(phase.spec.length for phase in student.phases)
        )
        if longest > model.config.max_positions:
            raise UserError(
                f"--teacher {source}: has {model.config.max_positions} positions, the rows have up to {longest} tokens"
            )
    if len(found) > 1 and distil.cache and isinstance(student, Pretraining):
        raise UserError(
            f"--teacher: {len(found)} teachers must be one with config.distil.cache=True in pretraining: the largest logits"
            " of several are of different tokens"
        )
    if len(found) > 1 and any(getattr(distil, name) for name in _ONE_TEACHER):
        raise UserError(
            f"--teacher: {len(found)} teachers can be averaged for config.distil.soft alone; other losses take one"
        )


_ONE_TEACHER = (
    "hidden_cosine", "hidden_mse", "attention_mse", "attention_kl", "query_relation", "key_relation", "value_relation",
)  # fmt: skip


def _check_head(student: Pretraining | Finetuning, source: hub.Source, model: LoadedModel) -> None:
    place = f"--teacher {source}"
    if isinstance(student, Pretraining):
        if "mlm_head" not in model.params:
            raise UserError(f"{place}: has no MLM head, which config.distil.soft reads")
        return
    ours, theirs = student.model.head, model.config.head
    if ours.kind == "embedding":
        return  # any encoder gives vectors
    if theirs.kind != ours.kind or "task_head" not in model.params:
        has = "no task head" if theirs.kind == "none" else f"a task head of {theirs.kind}"
        raise UserError(
            f"{place}: has {has}, config.distil.soft reads one of {ours.kind}: fine-tune the teacher first"
        )
    if theirs.labels != ours.labels:
        raise UserError(
            f"{place}: its labels are {', '.join(theirs.labels)}, the student's are {', '.join(ours.labels)}"
        )


def _check_vocabulary(student: Pretraining | Finetuning, source: hub.Source, model: LoadedModel) -> None:
    place, ours = f"--teacher {source}", student.tokenizer
    remedy = (
        f"prepare the corpus with config.tokenizer.path={source}"
        if isinstance(student, Pretraining)
        else "begin with a student of the teacher's vocabulary"
    )
    if model.tokenizer is None:
        raise UserError(
            f"{place}: has no tokenizer, so that its vocabulary cannot be compared with the student's"
        )
    theirs = model.tokenizer
    if theirs.backend.get_vocab() == ours.backend.get_vocab() and theirs.names == ours.names:
        return
    raise UserError(
        f"{place}: another vocabulary than the student's ({theirs.vocab_size:,} and {ours.vocab_size:,} entries): both"
        f" must read the same tokens; {remedy}"
    )


def _as_read(config: ModelConfig, task: Distillation) -> ModelConfig:
    """A teacher's architecture with the head that losses read: of vectors, which need no parameters, the student's."""
    if task.soft_kind == "embedding" and config.head.kind != "embedding":
        return dataclasses.replace(config, head=task.model.head)
    return config
