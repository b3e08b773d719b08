"""Distillation from Python: the same call as the command."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bert_jax import hub
from bert_jax.batch import Host
from bert_jax.config import DistilRun, FinetuneConfig, PretrainConfig
from bert_jax.errors import UsageError, UserError
from bert_jax.models.bert import parameter_count
from bert_jax.tasks import finetune, initialize
from bert_jax.tasks.choose import task_of
from bert_jax.tasks.distillation import Distillation
from bert_jax.tasks.finetuning import Finetuning
from bert_jax.tasks.load import LoadedModel, load_model
from bert_jax.tasks.pretraining import Pretraining
from bert_jax.tasks.saved_run import PROJECTION
from bert_jax.tasks.student import with_layers
from bert_jax.tasks.teachers import Found, saved_teachers
from bert_jax.training import processes, trainer
from bert_jax.training import workdir as workdirs

_log = logging.getLogger(__name__)


def distill(
    config: DistilRun,
    workdir: str | Path,
    *,
    teachers: Sequence[str | Path] = (),
    init: str | Path | None = None,
    experiment: str = "FILE",
    command: str = "the same command",
) -> None:
    """Trains a student on a corpus or on labelled data with the help of `teachers`, resuming what `workdir` holds.

    Where `processes.start` found other processes, all of them call this alike, and are alone when it returns.

    Args:
      teachers: models as for `load_model`; more than one are averaged, for config.distil.soft alone; not needed to
        resume.
      init: the model that the student begins as: needed for labelled data unless config.distil.student_layers cuts the
        student from the first teacher.
      experiment: what follows `--config` in the command that prepares the corpus, for the message that it is missing.
      command: what resumes the run, for the message of one that is stopped.

    Raises:
      UsageError: no teacher, or no student to begin with.
      ConfigError: the models, the devices, the data or the workdir do not fit the configuration.
      UserError: data or a model that cannot be read; a teacher that lacks what a loss reads; a loss that is not finite.
      Interrupted: a signal came; the state was saved.
    """
    workdir = Path(workdir)
    sources = tuple(map(hub.parse, teachers)) or saved_teachers(workdir)
    if not sources:
        raise UsageError(
            "--teacher is missing: the model to learn from, a directory or an id of the Hugging Face hub"
        )
    found = [Found(source, _on_host(load_model(source))) for source in sources]
    begin = _begins_with(config, workdir, found, init)
    load = functools.partial(_load, config, found)
    student = _student(config, workdir, begin, load, found, experiment)
    task = Distillation(student, found)
    if task.cache is None:  # otherwise they are checked as they are kept
        _check_outputs(task)
    is_first = processes.is_first()
    if is_first:
        _tell(task)
    trainer.run(
        task,
        task.config,
        workdir,
        init=begin,
        start_from=functools.partial(_start_from, task, load),
        command=command,
    )
    if task.cache is not None and is_first:
        _log.info("%s", task.cache)


def _on_host(model: LoadedModel) -> LoadedModel:
    return model._replace(params=jax.device_get(model.params))


def _begins_with(
    config: DistilRun, workdir: Path, found: Sequence[Found], init: str | Path | None
) -> tuple[hub.Source, ...]:
    """The model that the student's first parameters come from; (): none."""
    if config.distil.student_layers:
        if init is not None:
            raise UsageError(
                f"--init {init} must be left out with config.distil.student_layers, by which the student begins with the"
                " teacher's layers"
            )
        return (found[0].source,)
    if init is not None:
        return (hub.parse(init),)
    return workdirs.read(workdir).init if workdirs.is_workdir(workdir) else ()


def _load(config: DistilRun, found: Sequence[Found], source: hub.Source, **options: Any) -> LoadedModel:
    """The model that a student begins with."""
    layers = config.distil.student_layers
    if not layers:
        return load_model(source, **options)
    return with_layers(found[0].model, layers, option="config.distil.student_layers")


def _student(
    config: DistilRun,
    workdir: Path,
    begin: tuple[hub.Source, ...],
    load: Callable[..., LoadedModel],
    found: Sequence[Found],
    experiment: str,
) -> Pretraining | Finetuning:
    if isinstance(config, PretrainConfig):
        initialize.check_growth(config, has_source=bool(begin))
        return task_of(config, experiment=experiment)
    assert isinstance(config, FinetuneConfig)
    if not begin:
        raise UsageError(
            "--init is missing: the model that the student begins as, or config.distil.student_layers to cut it from the"
            " teacher"
        )
    first = found[0].model.config
    return finetune.open_task(
        config, workdir, begin, load=load, known=first.head.labels, types=first.type_vocab_size
    )


def _start_from(
    task: Distillation,
    load: Callable[..., LoadedModel],
    sources: tuple[hub.Source, ...],
    fresh: Callable[[], Any],
) -> tuple[Any, Any]:
    """The parameters that a run begins with, and what of the source is in them; a projection begins fresh."""
    created: dict[str, Any] = {}

    def own() -> Any:
        created.update(fresh())
        return {name: part for name, part in created.items() if name != PROJECTION}

    student = task.student
    if isinstance(student, Finetuning):
        params, report = finetune.start_from(student, sources, own, load=load)
    else:
        params, report = initialize.start_from(student, sources, own, load=load)
    return {**params, **{name: part for name, part in created.items() if name == PROJECTION}}, report


def _check_outputs(task: Distillation) -> None:
    """Raises `UserError` for a teacher whose outputs on the first row are not finite."""
    source = task.batches("train", task.phases[0], Host())
    assert source is not None
    first: Any = next(iter(source.iterate(0, 1)))
    batch: Any = {name: rows[:1] for name, rows in first.items()}
    for place, teacher in zip(task.places, task.teachers, strict=True):
        outputs = jax.device_get(jax.jit(teacher)(teacher.params, batch))
        if not all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in jax.tree.leaves(outputs)):
            raise UserError(
                f"--teacher {place}: its outputs on the first row are not finite (config.distil.teacher_dtype="
                f"{task.distil.teacher_dtype})"
            )


def _tell(task: Distillation) -> None:
    if isinstance(task.student, Finetuning):
        finetune.tell(task.student)
    ours = parameter_count(task.model)
    theirs = max(parameter_count(found.model.config) for found in task.found)
    _log.info("student: %s parameters, teacher: %s", f"{ours:,}", f"{theirs:,}")
    if ours > theirs:
        _log.warning("the student is larger than its teacher (%s parameters, %s)", f"{ours:,}", f"{theirs:,}")
