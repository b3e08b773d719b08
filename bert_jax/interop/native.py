"""Our own format: the config and the weights under this package's names, nothing translated.

bert_jax.json       {"format": 2, "heads": ["mlm", "pair"], "model": {the fields of ModelConfig}}
model.safetensors   a tensor a parameter, named by its path: bert/encoder/layer_0/mlp_in/kernel
tokenizer.json ...  as `Tokenizer.save` writes them, where there is a tokenizer
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
from safetensors.numpy import load_file

from bert_jax import json_file
from bert_jax.atomic import export_folder
from bert_jax.config import older
from bert_jax.config.head import OF_TEXTS
from bert_jax.config.model import ModelConfig
from bert_jax.config.options import Bounds
from bert_jax.errors import UserError
from bert_jax.interop import weights
from bert_jax.interop.config_fields import MOST, MOST_LAYERS
from bert_jax.models import bert, inference
from bert_jax.models.parameters import flatten, nest
from bert_jax.text import files
from bert_jax.text.tokenizer import Tokenizer

CONFIG_FILE, WEIGHTS_FILE = "bert_jax.json", "model.safetensors"
_FORMAT = 2


def save_native(
    folder: str | Path,
    params: Mapping[str, Any],
    *,
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    notes: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Writes a folder for `load_native`; it appears whole or not at all.

    notes: by name, JSON files to write beside, that nothing here reads.

    Raises:
      UserError: the folder is taken or cannot be written.
    """
    with export_folder(Path(folder), faults=(safetensors.SafetensorError,)) as partial:
        write(partial, params, config=config, tokenizer=tokenizer)
        for name, values in (notes or {}).items():
            files.write_json(partial / name, values)


def write(
    folder: Path, params: Mapping[str, Any], *, config: ModelConfig, tokenizer: Tokenizer | None
) -> None:
    """The files of `save_native`, into a folder that is there."""
    left = left_parts(params, config)
    config, heads = inference.fitted(config, params)
    leaves = flatten({part: params[part] for part in params if part not in left})
    tensors = {name: np.ascontiguousarray(leaf, np.float32) for name, leaf in leaves.items()}
    weights.save(tensors, folder / WEIGHTS_FILE)
    write_config(folder, config, heads)
    if tokenizer is not None:
        tokenizer.save(folder, max_length=config.max_positions)


def left_parts(params: Mapping[str, Any], config: ModelConfig) -> tuple[str, ...]:
    """The parts of `params` that no model of `config` computes, such as a pair head without a pooler."""
    config, heads = inference.fitted(config, params)
    parts = {"bert", *(f"{head}_head" for head in heads), *(("task_head",) if config.head.outputs else ())}
    return tuple(part for part in params if part not in parts)


def is_native(folder: str | Path) -> bool:
    return (Path(folder) / CONFIG_FILE).is_file()


def load_native(folder: str | Path) -> tuple[ModelConfig, dict[str, Any]]:
    """The config and the nested float32 NumPy parameters that `save_native` wrote.

    Raises:
      UserError: another format number; a field or a tensor that is unknown, missing or of the wrong type
        or shape; a file cut short.
    """
    folder = Path(folder)
    config, heads = read_config(folder)
    tensors = read_tensors(folder / WEIGHTS_FILE)
    _check_tensors(folder, tensors, config, heads)
    return config, nest(tensors)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """{path: array} of a file of ours.

    Raises:
      UserError: no such file, or not a whole one.
    """
    try:
        if weights.is_damaged(path):
            raise UserError(f"{path}: is not what was written: its checksum differs: copy or export it again")
        return load_file(path)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; an export is all of its files: copy or export it again"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}): copy or export it again") from error
    except safetensors.SafetensorError as error:
        raise UserError(
            f"{path}: not a complete safetensors file ({error}): copy or export it again"
        ) from error


def write_config(folder: Path, config: ModelConfig, heads: Sequence[str] = ()) -> None:
    """Writes bert_jax.json alone."""
    raw = {"format": _FORMAT, "heads": list(heads), "model": dataclasses.asdict(config)}
    files.write_json(folder / CONFIG_FILE, raw)


def read_config(folder: Path) -> tuple[ModelConfig, tuple[str, ...]]:
    """The model and its pretraining heads, as bert_jax.json of `folder` says.

    Raises:
      UserError: another format number, or a field that is unknown, missing or of the wrong type.
    """
    path = folder / CONFIG_FILE
    raw = json_file.read(path, advice="export it again")
    form = f'{{"format": {_FORMAT}, "heads": [...], "model": {{...}}}}'
    if raw.keys() != {"format", "heads", "model"}:
        raise UserError(f"{path}: must hold {form}: export it again")
    if raw["format"] not in (1, _FORMAT):
        raise UserError(
            f"{path}: format={raw['format']!r} must be at most {_FORMAT}, the newest that this version reads: open it with"
            " the bert_jax that wrote it"
        )
    if not isinstance(raw["model"], dict) or _fault(raw["heads"], list[inference.Head]):
        raise UserError(
            f"{path}: must hold {form} with heads out of {', '.join(inference.HEADS)}: export it again"
        )
    model = raw["model"] if raw["format"] == _FORMAT else _of_first_format(raw["model"])
    config = _made(ModelConfig, model, place=f"{path}: model")
    head = config.head
    if head.kind in OF_TEXTS and head.hidden == "pooler" and config.pooler == "none":
        raise UserError(
            f"{path}: model.head.hidden='pooler' of a {head.kind} head needs model.pooler='tanh' or 'gelu', it is"
            " 'none': export it again"
        )
    return config, tuple(raw["heads"])


def _of_first_format(model: Mapping[str, Any]) -> dict[str, Any]:
    """Its options had no groups, and of those that came later it has the defaults."""
    found = older.current_model(model)
    for field in dataclasses.fields(ModelConfig):
        if field.name in _LATER:
            found.setdefault(field.name, field.default)
        elif dataclasses.is_dataclass(field.default) and not isinstance(field.default, type):
            found[field.name] = dataclasses.asdict(field.default) | found.get(field.name, {})
    return found


_LATER = ("mlp", "biases", "pattern", "window", "initializer", "dropout_at")


def _made(schema: type[Any], raw: Any, *, place: str) -> Any:
    """The dataclass `schema` of the JSON object `raw`, with those inside it."""
    kinds = typing.get_type_hints(schema)
    if not isinstance(raw, dict):
        raise UserError(f"{place}={raw!r} must be an object: export it again")
    unknown, missing = sorted(raw.keys() - kinds.keys()), sorted(kinds.keys() - raw.keys())
    if unknown or missing:
        found = f"unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}"
        raise UserError(f"{place}: its fields are not those of this version: {found}; export it again")
    values: dict[str, Any] = {}
    bounds = {field.name: field.metadata.get("bounds") for field in dataclasses.fields(schema)}
    for name, kind in kinds.items():
        value = tuple(raw[name]) if isinstance(raw[name], list) else raw[name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            value = _made(kind, value, place=f"{place}.{name}")
        elif fault := _fault(value, kind) or _size_fault(value, bounds.get(name), name):
            raise UserError(f"{place}.{name}={value!r} must be {fault}: export it again")
        values[name] = value
    return schema(**values)


def _size_fault(value: Any, bounds: Bounds | None, name: str) -> str:
    """What a number must be and is not; empty for all else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    most = MOST_LAYERS if name == "num_layers" else MOST
    if value > most:
        return f"<= {most}"
    return "" if bounds is None or value in bounds else str(bounds)


def _fault(value: Any, kind: Any) -> str:
    """What `value` must be and is not; empty where it is of the type `kind`."""
    if typing.get_origin(kind) in (tuple, list):
        if not isinstance(value, typing.get_origin(kind)):
            return "a list"
        return next((fault for item in value if (fault := _fault(item, typing.get_args(kind)[0]))), "")
    if typing.get_origin(kind) is typing.Literal:
        choices = typing.get_args(kind)
        return "" if value in choices else f"one of: {', '.join(choices)}"
    if type(value) is kind or (kind is float and type(value) is int):
        return ""
    return f"of type {kind.__name__}"


def _check_tensors(
    folder: Path, found: Mapping[str, np.ndarray], config: ModelConfig, heads: tuple[str, ...]
) -> None:
    try:
        tree = jax.eval_shape(lambda: bert.init_params(config, jax.random.key(0), heads=heads))
    except (ArithmeticError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder / CONFIG_FILE}: its fields make no model ({reason}): export it again"
        ) from error
    shapes = {name: leaf.shape for name, leaf in flatten(tree).items()}
    path = folder / WEIGHTS_FILE
    hint = f"{CONFIG_FILE} and {WEIGHTS_FILE} must come from one export"
    for name, shape in shapes.items():
        if name not in found:
            raise UserError(f"{path}: tensor {name} of shape {shape} is missing: {hint}")
        if found[name].shape != shape:
            raise UserError(
                f"{path}: tensor {name} has shape {found[name].shape}, {CONFIG_FILE} says {shape}: {hint}"
            )
        if found[name].dtype != np.float32:
            raise UserError(f"{path}: tensor {name} is {found[name].dtype}, must be float32: export it again")
    extra = sorted(found.keys() - shapes.keys())
    if extra:
        more = f" and {len(extra) - 3} more" if len(extra) > 3 else ""
        raise UserError(f"{path}: {CONFIG_FILE} has no place for tensor {', '.join(extra[:3])}{more}: {hint}")
