"""Fine-tuning from Python: the same call as the command."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bert_jax import hub
from bert_jax.config import FinetuneConfig, HeadConfig, ModelConfig
from bert_jax.config.run_rules import parallel_faults
from bert_jax.errors import ConfigError, UsageError, UserError
from bert_jax.interop import native
from bert_jax.interop.load import load_tokenizer
from bert_jax.interop.transfer import adapt
from bert_jax.models.parameters import flatten, nest
from bert_jax.tasks.choose import finetuning_of
from bert_jax.tasks.finetuning import Finetuning, Part
from bert_jax.tasks.initialize import Report
from bert_jax.tasks.load import LoadedModel, load_model
from bert_jax.training import processes, trainer
from bert_jax.training import workdir as workdirs

_log = logging.getLogger(__name__)
Load = Callable[..., LoadedModel]


def finetune(
    config: FinetuneConfig,
    workdir: str | Path,
    *,
    init: str | Path | None = None,
    command: str = "the same command",
) -> None:
    """Fine-tunes the model `init` on config.task.train, resuming what `workdir` holds.

    Where `processes.start` found other processes, all of them call this alike, and are alone when it returns.

    Args:
      init: a workdir, an export, a Hugging Face directory, a TF1 checkpoint or the id of a model of the hub; not needed
        to resume.
      command: what resumes the run, for the message of one that is stopped.

    Raises:
      UsageError: a new run without `init`.
      ConfigError: the devices, the model, the data or the workdir do not fit the configuration.
      UserError: data or a model that cannot be read; a head of other labels; a loss that is not finite.
      Interrupted: a signal came; the state was saved.
    """
    workdir = Path(workdir)
    source: tuple[hub.Source, ...] = () if init is None else (hub.parse(init),)
    if not source and workdirs.is_workdir(workdir):
        source = workdirs.read(workdir, FinetuneConfig).init
    task = open_task(config, workdir, source)
    if processes.is_first():
        tell(task)
    trainer.run(
        task,
        task.config,
        workdir,
        init=source,
        start_from=functools.partial(start_from, task),
        command=command,
    )


def tell(task: Finetuning) -> None:
    """Says what was found in the data, and what of the configuration is known to fail."""
    for note in task.data.notes:
        _log.info("%s", note)
    if task.config.optim.name == "bert_adam":
        _log.warning(
            "config.optim.name=bert_adam has no bias correction: on small sets many seeds fail with it (Mosbach et"
            " al. 2021); adamw is the usual choice"
        )


def open_task(
    config: FinetuneConfig,
    workdir: Path,
    source: tuple[hub.Source, ...],
    *,
    part: Part | None = None,
    load: Load = load_model,
    known: tuple[str, ...] = (),
    types: int = 0,
) -> Finetuning:
    """The task of a run that is new, or goes on in `workdir`; reads its data.

    Args:
      part: the data that is only scored, of a run that `workdir` holds; nothing else is read.
      load: opens the source.
      known: labels in the order that a new head takes, if the data has the same ones.
      types: segment types that are told apart, if more than the model's own.

    Raises:
      UsageError: a new run without a model to begin with.
    """
    kind = finetuning_of(config)
    if workdirs.is_workdir(workdir) and native.is_native(workdir):
        model, tokenizer = native.read_config(workdir)[0], load_tokenizer(workdir)
        known = model.head.labels
        data = kind.read_data(
            config, tokenizer, types=max(types, model.type_vocab_size), known=known, part=part
        )
    else:
        if not source:
            raise UsageError(
                "--init is missing: the model to fine-tune, a directory or an id of the Hugging Face hub"
            )
        found = load(source[0])
        if found.tokenizer is None:
            raise UserError(
                f"{source[0]}: has no tokenizer, so no text can be read: put its tokenizer.json there"
            )
        tokenizer = found.tokenizer
        if found.report and processes.is_first():
            for note in found.report.notes:
                _log.info("%s: %s", source[0], note)
        keeps = _keeps_head(config, found)
        known = found.config.head.labels if keeps else known
        data = kind.read_data(config, tokenizer, types=max(types, found.config.type_vocab_size), known=known)
        if keeps and known != data.labels:
            raise _another_head(source[0], found.config.head, ", ".join(data.labels))
        model = kind.with_head(config, found.config, data.labels)
    faults = list(parallel_faults(config.parallel, model))
    if faults:
        raise ConfigError(faults)
    return kind(config, model, tokenizer, data)


def _keeps_head(config: FinetuneConfig, found: LoadedModel) -> bool:
    """Whether the head of --init goes on.

    Raises:
      UserError: it is of another kind of task.
    """
    head = found.config.head
    if (
        config.tuning.head == "fresh"
        or config.tuning.weights == "random"
        or head.kind in ("none", "embedding")
    ):
        return False
    if head.kind != finetuning_of(config).head_kind:
        raise _another_head("--init", head, f"config.task.kind={config.task.kind}")
    return True


def _another_head(source: Any, head: HeadConfig, wanted: str) -> UserError:
    has = f"{head.kind} with the labels {', '.join(head.labels)}" if head.labels else head.kind
    return UserError(
        f"{source}: its task head is of {has}, the task's is of {wanted}: begin with a new head by"
        " --config.tuning.head=fresh"
    )


def start_from(
    task: Finetuning,
    sources: tuple[hub.Source, ...],
    fresh: Callable[[], Any],
    *,
    load: Load = load_model,
) -> tuple[Any, Report]:
    """The parameters that a run begins with, NumPy, and what of the source, which `load` opens, is in them."""
    source = sources[0]
    found = load(source)
    source = hub.pinned(source)
    params = _taken(task, found.params, found.config)
    adapted, report = adapt(
        params,
        found.config,
        found.tokenizer,
        to=task.model,
        to_tokenizer=task.tokenizer,
        fresh=fresh(),
        place=str(source),
    )
    return adapted, Report({"": source}, {"": report})


def _taken(task: Finetuning, params: Mapping[str, Any], model: ModelConfig) -> Any:
    """The parameters of a source without those that begin anew."""
    tuning = task.config.tuning
    if tuning.weights == "random":
        return {}
    lost = []
    if tuning.head == "fresh":
        lost.append("^task_head/")
    if tuning.reinitialize:
        top = range(model.num_layers - tuning.reinitialize, model.num_layers)
        lost.append(f"^bert/(pooler|encoder/layer_({'|'.join(map(str, top))}))/")
    kept = {
        path: leaf
        for path, leaf in flatten(params).items()
        if not any(re.search(pattern, path) for pattern in lost)
    }
    return nest(kept)
