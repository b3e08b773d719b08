"""Reading a Hugging Face directory: config.json and safetensors, in NumPy.

Weights come from safetensors alone. A pickle (pytorch_model.bin) can run code as it is read, so none is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from bert_jax import json_file
from bert_jax.config.model import ModelConfig
from bert_jax.config.options import replaced
from bert_jax.errors import UserError
from bert_jax.interop import config_json, names, sentence_transformers, weights
from bert_jax.interop.families import FAMILIES, Family
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.tokenizer import Tokenizer

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a checkpoint had less, or more, than all that a model of its family may have.

    missing: the parts of `names.HEADS` it lacks; the parameters lack the same subtrees.
    unexpected: tensors that were left aside, such as a multiple-choice classifier's, by the file's own names.
    notes: sentences on what the directory asks for besides, and is not done here.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load_hf(folder: str | Path) -> tuple[ModelConfig, dict[str, Any], LoadReport]:
    """The model in a Hugging Face directory: our export, or `save_pretrained` of any class of a family here.

    A class for sequence classification, token classification or question answering, which config.json names, gives
    the config its task head, and modules.json of sentence-transformers a head of kind "embedding". Other heads, such
    as a multiple-choice classifier, are left aside.

    Returns the config, the nested float32 NumPy parameters of `BertWithHeads`, and a report. Heads
    that the checkpoint lacks ("mlm_head", "pair_head", "rtd_head", "bert/pooler") are absent from the
    parameters, never invented. Tensors stored as float16, bfloat16 or float64 are converted. A RoBERTa or
    DeBERTa without a pooler is a model that has none; a DeBERTa with absolute positions has the enhanced
    mask decoder, for which alone they are published.

    Raises:
      UserError: no such folder or no safetensors in it; not an encoder that this package computes exactly;
        a file cut short; a tensor missing from the encoder or from a head that is otherwise there; a
        wrong shape; a task head without its tensors or of another number of labels; NaN or infinity; a tensor
        inside the encoder that the config has no place for; a decoder that is not tied to the embeddings.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder}: no config.json in it, so not a Hugging Face model directory")
    config = config_json.config_from_hf(json_file.read(path), place=str(path))
    notes: tuple[str, ...] = ()
    if config.head.kind == "none":
        head, notes = sentence_transformers.read_head(folder, config)
        config = dataclasses.replace(config, head=head)
    tensors = _read_tensors(_weight_files(folder), FAMILIES[config.family])
    _untie(folder, tensors, FAMILIES[config.family])
    config = settled(config, tensors)
    unexpected = _check_tensors(folder, tensors, config)
    params = names.from_hf({name: array for name, (_, array) in tensors.items()}, config)
    absent = {entry.head for entry in names.table(config) if entry.theirs not in tensors}
    missing = tuple(head for head in names.HEADS if head in absent)
    return config, params, LoadReport(missing=missing, unexpected=unexpected, notes=notes)


def settled(config: ModelConfig, tensors: Collection[str]) -> ModelConfig:
    """The config with what the presence of tensors, by the table's names, says of the model."""
    family = FAMILIES[config.family]
    task = family.task(config.head)
    has_pooler = any(name.startswith(f"{family.names.get('bert/pooler/dense')}.") for name in tensors)
    needs_pooler = task is not None and "bert/pooler" in task.heads
    is_settled = family.pooler_is_settled or config.head.kind != "none"
    if is_settled and not has_pooler and not needs_pooler:
        config = dataclasses.replace(config, pooler="none")
    if config.positions == "disentangled":
        has_positions = family.names["bert/embeddings/position"] in tensors
        config = replaced(config, {"relative.mask_decoder": has_positions})
    return config


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a Hugging Face directory, or of google-research's: see `text.folder.read`.

    Raises:
      UserError: there is none, it cannot be read, or it asks for what is not done here.
    """
    return tokenizers.load(folder, lowercase=None)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if (folder / _INDEX).is_file():
        return _shards(folder / _INDEX)
    if sorted(folder.glob("pytorch_model*.bin")):
        pattern = str(folder / "pytorch_model*.bin")
        raise UserError(
            f"{folder}: only pytorch_model.bin here, a pickle, which can run code when read, so it is not"
            ' read; convert it: python -c "import glob, torch; from safetensors.torch import save_file;'
            f" d = {{}}; [d.update(torch.load(f, weights_only=True)) for f in glob.glob({pattern!r})];"
            f' save_file({{k: v.clone().contiguous() for k, v in d.items()}}, {str(folder / _WEIGHTS)!r})"'
        )
    found = names.listed(path.name for path in folder.iterdir())
    raise UserError(f"{folder}: no {_WEIGHTS} and no {_INDEX} in it; it holds {found}")


def _shards(index: Path) -> list[Path]:
    weight_map = json_file.read(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{index}: no weight_map in it: download or export it again")
    files = sorted({str(name) for name in weight_map.values()})
    for name in files:
        if not json_file.is_file_name(name):  # the index may come from anywhere and must not lead elsewhere
            raise UserError(f"{index}: shard {name!r} must be a file name, without folders")
        if not (index.parent / name).is_file():
            raise UserError(f"{index}: names {name}, which is not beside it: download that file too")
    return [index.parent / name for name in files]


def _read_tensors(paths: list[Path], family: Family) -> dict[str, tuple[str, np.ndarray]]:
    """{the table's name: (the file's name, float32 array)} of all the files."""
    tensors: dict[str, tuple[str, np.ndarray]] = {}
    for path, stored, array in _walk_tensors(paths):
        name = names.canonical(stored, family)
        if name in tensors:
            raise UserError(
                f"{path}: {stored} and {tensors[name][0]} are the same parameter, {name}: remove one of them"
            )
        tensors[name] = (stored, array)
    return tensors


def _walk_tensors(paths: list[Path]) -> Iterator[tuple[Path, str, np.ndarray]]:
    for path in paths:
        try:
            if weights.is_damaged(path):
                raise UserError(
                    f"{path}: is not what was written: its checksum differs: copy or export it again"
                )
            with safetensors.safe_open(path, framework="numpy") as file:
                for stored in file.keys():  # noqa: SIM118  (a safe_open is no mapping)
                    if stored.endswith("embeddings.position_ids"):
                        continue  # 0, 1, 2, ...: a buffer that older versions saved
                    kind = file.get_slice(stored).get_dtype()
                    if kind not in _FLOATS:
                        raise UserError(
                            f"{path}: tensor {stored} is stored as {kind}, must be one of"
                            f" {', '.join(_FLOATS)}: save the checkpoint without quantisation"
                        )
                    yield path, stored, np.asarray(file.get_tensor(stored), np.float32)
        except safetensors.SafetensorError as error:
            raise UserError(
                f"{path}: not a complete safetensors file ({error}): download or export it again"
            ) from error


def _check_tensors(
    folder: Path, tensors: dict[str, tuple[str, np.ndarray]], config: ModelConfig
) -> tuple[str, ...]:
    """Drops what has no place; returns the file's names of it, sorted."""
    table = {entry.theirs: entry for entry in names.table(config)}
    present = {table[name].head for name in tensors if name in table}
    task = FAMILIES[config.family].task(config.head)
    needed = task.heads if task else frozenset()
    for name, entry in table.items():
        if name not in tensors:
            if entry.head is not None and entry.head not in present | needed:
                continue
            owner = f" of {task.name}, which config.json names," if task and entry.head in needed else ""
            raise UserError(
                f"{folder}: tensor {name} of shape {entry.their_shape}{owner} is missing: the checkpoint is"
                " incomplete, or config.json is another model's"
            )
        stored, array = tensors[name]
        if not np.isfinite(array).all():
            raise UserError(
                f"{folder}: tensor {stored} has {np.count_nonzero(~np.isfinite(array))} values that are NaN or"
                " infinite, must have none: its training failed, or the file is damaged"
            )
        if array.shape != entry.their_shape:
            if "task_head/output" in entry.ours[0] and array.shape[1:] == entry.their_shape[1:]:
                raise UserError(
                    f"{folder}: a head of another size: tensor {stored} has {len(array)} rows, config.json has"
                    f" {config.head.outputs} labels: id2label must name every class of the head, and no other"
                )
            hint = (
                " (vocab_size and the embeddings disagree)"
                if entry.ours == ("bert/embeddings/token",)
                else ""
            )
            raise UserError(
                f"{folder}: tensor {stored} has shape {array.shape}, config.json says"
                f" {entry.their_shape}{hint}: use the config.json that was saved with these weights"
            )
    extra = {name: tensors.pop(name)[0] for name in tensors.keys() - table.keys()}
    prefix = f"{FAMILIES[config.family].prefix}."
    inside = [stored for name, stored in extra.items() if name.startswith(prefix)]
    if inside:
        raise UserError(
            f"{folder}: tensors inside the encoder that config.json ({config.num_layers} layers) has no place"
            f" for: {names.listed(inside)}; use the config.json that was saved with these weights"
        )
    return tuple(sorted(extra.values()))


def _untie(folder: Path, tensors: dict[str, tuple[str, np.ndarray]], family: Family) -> None:
    """Older files repeat the output projection, or hold its bias under the second name only."""
    for second, first in family.tied.items():
        if second not in tensors:
            continue
        stored, array = tensors.pop(second)
        if first not in tensors and second.endswith(".bias"):
            tensors[first] = (stored, array)
        elif first in tensors and not np.array_equal(array, tensors[first][1]):
            raise UserError(
                f"{folder}: {stored} {array.shape} must equal {tensors[first][0]}"
                f" {tensors[first][1].shape} and does not: here the output projection"
                " always is the embedding table"
            )


def check_vocabulary(tokenizer: Tokenizer, config: ModelConfig, *, place: str | Path) -> None:
    """A tokenizer must not give ids that the embedding table has no row for; fewer is common padding."""
    if tokenizer.vocab_size > config.vocab_size:
        raise UserError(
            f"{place}: the tokenizer has {tokenizer.vocab_size} entries, the model vocab_size={config.vocab_size}:"
            " tokenizer and weights must come from the same model"
        )
