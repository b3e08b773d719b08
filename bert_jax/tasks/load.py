"""Opening a trained model from wherever it is: a workdir, an export, a Hugging Face directory or model id, a TF1
checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from bert_jax import hub
from bert_jax.config import FinetuneConfig, ModelConfig, PretrainConfig, RunConfig
from bert_jax.errors import UserError
from bert_jax.interop import native, tf1
from bert_jax.interop.load import LoadReport, check_vocabulary, load_hf, load_tokenizer
from bert_jax.interop.names import listed
from bert_jax.models import bert
from bert_jax.tasks.choose import select_of, task_of
from bert_jax.text.folder import has_tokenizer
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training import workdir as workdirs
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.task import Metric

PROJECTION = "distil"
"""The part of a distilled run's parameters that its student does without."""


class LoadedModel(NamedTuple):
    """A model as its directory has it."""

    config: ModelConfig
    params: Any
    """nested; without the heads that are not there"""
    tokenizer: Tokenizer | None
    """None where the directory has none"""
    report: LoadReport | None
    """what the file had less or more; None where it can only be complete"""


def load_model(source: str | hub.Source, *, checkpoint: str = "last", part: str | None = None) -> LoadedModel:
    """The architecture, parameters and tokenizer of a model.

    Args:
      source: a directory, or the id of a model of the Hugging Face hub, with `@revision` if need be.
      checkpoint: of a workdir, "last", "best" or a step.
      part: of a run that trains several encoders, which; None: the one to keep.

    Raises:
      UserError: the directory holds no model, is damaged, or has no such checkpoint or part; or the id is of no
        model that can be had.
    """
    directory = hub.resolve(source)
    if not directory.is_dir():
        raise UserError(
            f"no such directory: {directory}; correct the path, or name a model of the Hugging Face hub (org/name)"
        )
    is_workdir = workdirs.is_workdir(directory)
    if part is not None and not is_workdir:
        raise UserError(f"{directory}: has no {part}: only the workdir of a run with objective.name=rtd has")
    report: LoadReport | None = None
    if is_workdir:
        config, params = load_workdir(directory, checkpoint=checkpoint, part=part)
    elif native.is_native(directory):
        config, params = native.load_native(directory)
    elif tf1.is_tf1(directory):
        config, params, report = tf1.load_tf1(directory)
    elif (directory / "config.json").is_file():
        config, params, report = load_hf(directory)
    else:
        raise UserError(f"{directory}: {_unknown(directory)}")
    tokenizer = load_tokenizer(directory) if has_tokenizer(directory) else None
    if tokenizer is not None:
        check_vocabulary(tokenizer, config, place=directory)
    return LoadedModel(config, params, tokenizer, report)


def read_architecture(source: str | hub.Source) -> ModelConfig:
    """The architecture alone of what `load_model` opens. Touches no device.

    Raises:
      UserError: as `load_model`, but for checkpoints, which are not looked for.
    """
    directory = hub.resolve(source)
    if not workdirs.is_workdir(directory):
        return load_model(source).config  # NumPy alone reads it
    saved = workdirs.read(directory, RunConfig).config
    if isinstance(saved, FinetuneConfig):
        return native.read_config(directory)[0]
    return task_of(workdirs.read(directory, PretrainConfig).config).model


def load_workdir(
    directory: Path, *, checkpoint: str = "last", part: str | None = None
) -> tuple[ModelConfig, Any]:
    """Architecture and parameters (on the first device) of an encoder of a workdir's checkpoint."""
    saved = workdirs.read(directory, RunConfig).config
    if isinstance(saved, FinetuneConfig):
        return _load_finetuned(directory, saved, checkpoint=checkpoint, part=part)
    config = workdirs.read(directory, PretrainConfig).config
    task = task_of(config)
    if part is not None and part not in task.encoders:
        raise UserError(
            f"{directory}: has no {part}: the run has objective.name={config.objective.name}, not rtd"
        )
    params = _restored(directory, task.init, task.select, choose_checkpoint(directory, checkpoint))
    name = next(iter(task.encoders)) if part is None else part
    return task.encoders[name], task.apart(params)[name]


def _load_finetuned(
    directory: Path, config: FinetuneConfig, *, checkpoint: str, part: str | None
) -> tuple[ModelConfig, Any]:
    if part is not None:
        raise UserError(f"{directory}: has no {part}: a fine-tuned model is one encoder")
    model, _ = native.read_config(directory)
    step = choose_checkpoint(directory, checkpoint)
    return model, _restored(
        directory, functools.partial(bert.init_params, model, heads=()), select_of(config), step
    )


def _restored(directory: Path, init: Callable[[jax.Array], Any], select: Metric, step: int) -> Any:
    """The parameters of a checkpoint, on the first device."""
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        jax.eval_shape(init, jax.random.key(0)),
    )
    with Checkpoints(directory / "checkpoints", select=select, read_only=True) as checkpoints:
        return checkpoints.restore_params(abstract, step, without=(PROJECTION,))


def choose_checkpoint(directory: Path, which: str) -> int:
    """The step of a workdir that "last", "best" or a number names.

    Raises:
      UserError: there is no such checkpoint.
    """
    folder = directory / "checkpoints"
    if not folder.is_dir():
        raise UserError(f"{directory} has no checkpoints: the run saved none yet")
    saved = workdirs.read(directory, RunConfig).config
    if isinstance(saved, FinetuneConfig):
        select = select_of(saved)
    else:
        select = task_of(workdirs.read(directory, PretrainConfig).config).select
    with Checkpoints(folder, select=select, read_only=True) as checkpoints:
        return checkpoints.choose(which)


def _unknown(directory: Path) -> str:
    """Why a directory without any of the files that tell a kind is no model."""
    found = listed(sorted(path.name for path in directory.iterdir())) or "nothing"
    return (
        "no model that can be read here: must be the workdir of a run (config.json of bert_jax), an export with"
        " bert_jax.json, a Hugging Face directory (config.json with safetensors) or a TF1 checkpoint"
        f" (NAME.index); it holds {found}"
    )
