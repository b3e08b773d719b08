"""Opening a trained model from wherever it is: a workdir, an export, a Hugging Face directory or model id, a TF1
checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from bert_jax import hub
from bert_jax.config import FinetuneConfig, ModelConfig, PretrainConfig, RunConfig
from bert_jax.config.phases import config_at
from bert_jax.errors import UserError
from bert_jax.interop import native, tf1
from bert_jax.interop.load import LoadReport, check_vocabulary, load_hf, load_tokenizer
from bert_jax.interop.names import listed
from bert_jax.tasks.choose import task_of
from bert_jax.tasks.saved_run import open_run
from bert_jax.text.folder import has_tokenizer
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training import workdir as workdirs


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
    return LoadedModel(config, params, tokenizer_of(directory, config), report)


def tokenizer_of(directory: Path, config: ModelConfig) -> Tokenizer | None:
    """The tokenizer beside a model of `config`; None: there is none.

    Raises:
      UserError: it has more entries than the model, or cannot be read.
    """
    if not has_tokenizer(directory):
        return None
    tokenizer = load_tokenizer(directory)
    check_vocabulary(tokenizer, config, place=directory)
    return tokenizer


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
    config = workdirs.read(directory, PretrainConfig).config
    return task_of(config_at(config, config.train.steps)).model


def load_workdir(
    directory: Path, *, checkpoint: str = "last", part: str | None = None
) -> tuple[ModelConfig, Any]:
    """Architecture and parameters (on the first device) of an encoder of a workdir's checkpoint."""
    run = open_run(directory)
    name = run.name_of(part)
    [step] = run.choose(checkpoint)
    return run.encoders_at(step)[name], run.apart(run.params(step))[name]


def choose_checkpoint(directory: Path, which: str) -> int:
    """The step of a workdir that "last", "best" or a number names.

    Raises:
      UserError: there is no such checkpoint.
    """
    [step] = open_run(directory).choose(which)
    return step


def _unknown(directory: Path) -> str:
    """Why a directory without any of the files that tell a kind is no model."""
    found = listed(sorted(path.name for path in directory.iterdir())) or "nothing"
    return (
        "no model that can be read here: must be the workdir of a run (config.json of bert_jax), an export with"
        " bert_jax.json, a Hugging Face directory (config.json with safetensors) or a TF1 checkpoint"
        f" (NAME.index); it holds {found}"
    )
