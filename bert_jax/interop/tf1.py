"""Reading google-research's TF1 checkpoints of BERT, ALBERT and ELECTRA, in NumPy.

Their variables go through Hugging Face's names into the one table of `names`; here are only the rules from
those names to TF1's. A kernel is [in, out] where Hugging Face's weight is [out, in].

What hidden_act "gelu" means: google-research/bert computed erf when its 2018 models were trained and the tanh
form from 2019-02 on, for the same files; ELECTRA's code computes erf. For both this reads erf, as
Hugging Face does. ALBERT's code has computed the tanh form since its first release, so that is
what its weights were trained with, version 1 included, which Hugging Face runs with erf.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax import json_file
from bert_jax.config.model import ModelConfig
from bert_jax.errors import UserError
from bert_jax.interop import names
from bert_jax.interop.config_json import config_from_hf
from bert_jax.interop.load import LoadReport

# The config file beside a checkpoint -> whose it is. ELECTRA's releases have none.
_CONFIGS = {"bert_config.json": "bert", "albert_config.json": "albert"}

# Hugging Face's name with / for . -> TF1's; all rules of a family apply, in their order.
_RULES: dict[str, tuple[tuple[str, str], ...]] = {
    "bert": (
        (r"^cls/seq_relationship/weight$", "cls/seq_relationship/output_weights"),
        (r"^cls/(predictions|seq_relationship)/bias$", r"cls/\1/output_bias"),
    ),
    "albert": (
        (r"^albert/pooler/", "bert/pooler/dense/"),
        (r"^albert/", "bert/"),
        (r"/albert_layer_groups/(\d+)/albert_layers/(\d+)/", r"/transformer/group_\1/inner_group_\2/"),
        (r"/attention/LayerNorm/", "/LayerNorm/"),
        (r"/attention/(query|key|value)/", r"/attention_1/self/\1/"),
        (r"/attention/dense/", "/attention_1/output/dense/"),
        (r"/full_layer_layer_norm/", "/LayerNorm_1/"),
        (r"/ffn/", "/ffn_1/intermediate/dense/"),
        (r"/ffn_output/", "/ffn_1/intermediate/output/dense/"),
        (r"^predictions/bias$", "cls/predictions/output_bias"),
        (r"^predictions/(dense|LayerNorm)/", r"cls/predictions/transform/\1/"),
        (r"^sop_classifier/classifier/weight$", "cls/seq_relationship/output_weights"),
        (r"^sop_classifier/classifier/bias$", "cls/seq_relationship/output_bias"),
    ),
    "electra": ((r"^discriminator_predictions/dense_prediction/", "discriminator_predictions/dense_1/"),),
}
_ALL_FAMILIES = (
    (r"/layer/(\d+)/", r"/layer_\1/"),
    (r"_embeddings/weight$", "_embeddings"),
    (r"(LayerNorm\w*)/weight$", r"\1/gamma"),
    (r"(LayerNorm\w*)/bias$", r"\1/beta"),
    (r"/weight$", "/kernel"),
)

# What training adds: moments of Adam and LAMB, and counters.
_TRAINING = re.compile(r"/((adam|lamb)_[mv]|Adam(_1)?)$|^(global_step|beta[12]_power)$")


def is_tf1(folder: str | Path) -> bool:
    """Whether `folder` holds a TF1 checkpoint and no safetensors, which would be read instead."""
    folder = Path(folder)
    return any(folder.glob("*.index")) and not any(folder.glob("*.safetensors"))


def load_tf1(folder: str | Path) -> tuple[ModelConfig, dict[str, Any], LoadReport]:
    """The model in a folder of a TF1 checkpoint (NAME.index, NAME.data-00000-of-00001).

    BERT and ALBERT are described by bert_config.json or albert_config.json beside it. ELECTRA's sizes are
    read off its variables, H being D / 64; of the two networks in its checkpoint this is the
    discriminator, with its head. What training left (Adam's moments, the step) is passed over.

    Returns the config, the nested float32 NumPy parameters and a report, as `interop.load.load_hf` does.

    Raises:
      UserError: TensorFlow is not installed; no such checkpoint, or one of another model; a part of it
        is not there or cut short; a variable missing from the encoder or from a head that is otherwise
        there; a wrong shape; a variable inside the encoder that the config has no place for.
    """
    folder = Path(folder)
    prefix = _prefix(folder)
    reader = _open(prefix)
    shapes = {
        name: tuple(shape)
        for name, shape in reader.get_variable_to_shape_map().items()
        if not _TRAINING.search(name)
    }
    config, place = _config(folder, shapes)
    wanted = {_tf1_name(entry.theirs, config.family): entry for entry in names.table(config)}
    if config.family == "electra":  # the generator's, of other widths
        wanted = {name: entry for name, entry in wanted.items() if not name.startswith("generator")}
    present = _check(prefix, shapes, wanted, place)
    tensors = {}
    for name in present:
        with _one_line(prefix):
            array = np.asarray(reader.get_tensor(name), np.float32)
        tensors[wanted[name].theirs] = array.T if name.endswith("/kernel") else array
    params = names.from_hf(tensors, config)
    absent = {entry.head for entry in names.table(config) if entry.theirs not in tensors}
    report = LoadReport(
        missing=tuple(head for head in names.HEADS if head in absent),
        unexpected=tuple(sorted(shapes.keys() - present)),
    )
    return config, params, report


def _tf1_name(theirs: str, family: str) -> str:
    name = theirs.replace(".", "/")
    for pattern, replacement in (*_RULES[family], *_ALL_FAMILIES):
        name = re.sub(pattern, replacement, name)
    return name


def _tf1_shape(name: str, entry: names.Entry) -> tuple[int, ...]:
    return entry.their_shape[::-1] if name.endswith("/kernel") else entry.their_shape


def _prefix(folder: Path) -> Path:
    """The checkpoint's path without .index and .data-*."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    found = sorted(path.name for path in folder.iterdir())
    indexes = [name for name in found if name.endswith(".index")]
    if not indexes:
        raise UserError(f"{folder}: no NAME.index of a TF1 checkpoint in it; it holds {names.listed(found)}")
    if len(indexes) > 1:
        raise UserError(
            f"{folder}: must hold one checkpoint, holds {names.listed(indexes)}: move the others away"
        )
    prefix = indexes[0].removesuffix(".index")
    if not any(name.startswith(f"{prefix}.data-") for name in found):
        raise UserError(
            f"{folder / indexes[0]}: no {prefix}.data-00000-of-00001 beside it, which has the values: download"
            " that file too"
        )
    return folder / prefix


def _open(prefix: Path) -> Any:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UserError(
            f"{prefix}.index: a TF1 checkpoint is read with TensorFlow, which is not installed:"
            " pip install tensorflow-cpu"
        ) from error
    with _one_line(prefix):
        return tf.train.load_checkpoint(str(prefix))


@contextlib.contextmanager
def _one_line(prefix: Path) -> Iterator[None]:
    """TensorFlow says in many types of exception that a file is damaged."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{prefix}: not a complete checkpoint ({reason}): download it again") from error


def _config(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[ModelConfig, str]:
    """The model, and what says so."""
    found = [name for name in _CONFIGS if (folder / name).is_file()]
    if len(found) > 1:
        raise UserError(f"{folder}: must hold one of {' and '.join(found)}: remove the other model's")
    if not found:
        place = "an ELECTRA of these sizes"
        return config_from_hf(_electra(folder, shapes), place=f"{folder}: {place}"), place
    place = str(folder / found[0])
    raw = json_file.read(folder / found[0]) | {"model_type": _CONFIGS[found[0]]}
    if raw["model_type"] == "albert" and raw.get("hidden_act") == "gelu":
        raw["hidden_act"] = "gelu_new"
    return config_from_hf(raw, place=place), place


def _electra(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """An ELECTRA's sizes, as config.json says them."""
    if not any(name.startswith("electra/") for name in shapes):
        raise UserError(
            f"{folder}: {' or '.join(_CONFIGS)} must be beside the checkpoint, whose variables are no ELECTRA's:"
            " download it from where the checkpoint is from"
        )

    def shape(name: str) -> tuple[int, int]:
        found = shapes.get(f"electra/{name}", ())
        if len(found) != 2:
            raise UserError(
                f"{folder}: electra/{name} must be a matrix of the checkpoint, is"
                f" {f'of shape {found}' if found else 'missing'}: it is not a whole ELECTRA"
            )
        return found

    vocab_size, embedding_size = shape("embeddings/word_embeddings")
    hidden_size, mlp_size = shape("encoder/layer_0/intermediate/dense/kernel")
    layers = {match[1] for name in shapes if (match := re.match(r"electra/encoder/layer_(\d+)/", name))}
    return {
        "model_type": "electra",
        "vocab_size": vocab_size,
        "embedding_size": embedding_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, hidden_size // 64),
        "intermediate_size": mlp_size,
        "max_position_embeddings": shape("embeddings/position_embeddings")[0],
        "type_vocab_size": shape("embeddings/token_type_embeddings")[0],
        "hidden_act": "gelu",
    }


def _check(
    prefix: Path, shapes: Mapping[str, tuple[int, ...]], wanted: Mapping[str, names.Entry], place: str
) -> set[str]:
    """The names of `wanted` that the checkpoint has; a head may be missing as a whole."""
    present = wanted.keys() & shapes.keys()
    heads = {wanted[name].head for name in present}
    for name, entry in wanted.items():
        shape = _tf1_shape(name, entry)
        if name not in present:
            if entry.head is None or entry.head in heads:
                raise UserError(
                    f"{prefix}: variable {name} of shape {shape}, which {place} asks for, is missing: the"
                    " checkpoint is incomplete or another model's"
                )
        elif shapes[name] != shape:
            raise UserError(
                f"{prefix}: variable {name} has shape {shapes[name]}, {place} asks for {shape}: use files that were"
                " released together"
            )
    inside = [name for name in shapes.keys() - present if name.startswith(("bert/", "electra/"))]
    if inside:
        raise UserError(
            f"{prefix}: variables inside the encoder that {place} has no place for: {names.listed(inside)};"
            " use files that were released together"
        )
    return present
