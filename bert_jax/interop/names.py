"""One table: our parameters and Hugging Face's `BertForPreTraining`, read in both directions.

A row gives both names and both layouts. Letters are the axes of `models.axes` (E is D again, on the
output side of a D x D projection); letters written together are one axis on Hugging Face's side. Where
the order of the letters differs the matrix is transposed: a torch Linear keeps [out, in], ours [in, out]
with the heads as axes of their own.

The model's fields stand in a second table, beside config.json's of model_type "bert".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bert_jax.errors import UserError
from bert_jax.models.presets import PRESETS, ModelConfig

_LAYER: tuple[tuple[str, str, str, str], ...] = (
    ("attention/query/kernel", "attention.self.query.weight", "DHK", "HK D"),
    ("attention/query/bias", "attention.self.query.bias", "HK", "HK"),
    ("attention/key/kernel", "attention.self.key.weight", "DHK", "HK D"),
    ("attention/key/bias", "attention.self.key.bias", "HK", "HK"),
    ("attention/value/kernel", "attention.self.value.weight", "DHK", "HK D"),
    ("attention/value/bias", "attention.self.value.bias", "HK", "HK"),
    ("attention/output/kernel", "attention.output.dense.weight", "HKD", "D HK"),
    ("attention/output/bias", "attention.output.dense.bias", "D", "D"),
    ("attention_norm/scale", "attention.output.LayerNorm.weight", "D", "D"),
    ("attention_norm/bias", "attention.output.LayerNorm.bias", "D", "D"),
    ("mlp_in/kernel", "intermediate.dense.weight", "DF", "F D"),
    ("mlp_in/bias", "intermediate.dense.bias", "F", "F"),
    ("mlp_out/kernel", "output.dense.weight", "FD", "D F"),
    ("mlp_out/bias", "output.dense.bias", "D", "D"),
    ("mlp_norm/scale", "output.LayerNorm.weight", "D", "D"),
    ("mlp_norm/bias", "output.LayerNorm.bias", "D", "D"),
)

_TABLE: tuple[tuple[str, str, str, str], ...] = (
    ("bert/embeddings/token", "bert.embeddings.word_embeddings.weight", "VD", "V D"),
    ("bert/embeddings/position", "bert.embeddings.position_embeddings.weight", "SD", "S D"),
    ("bert/embeddings/type", "bert.embeddings.token_type_embeddings.weight", "TD", "T D"),
    ("bert/embeddings/norm/scale", "bert.embeddings.LayerNorm.weight", "D", "D"),
    ("bert/embeddings/norm/bias", "bert.embeddings.LayerNorm.bias", "D", "D"),
    *((f"bert/encoder/layer_{{i}}/{a}", f"bert.encoder.layer.{{i}}.{b}", c, d) for a, b, c, d in _LAYER),
    ("bert/pooler/dense/kernel", "bert.pooler.dense.weight", "DE", "E D"),
    ("bert/pooler/dense/bias", "bert.pooler.dense.bias", "E", "E"),
    ("mlm_head/dense/kernel", "cls.predictions.transform.dense.weight", "DE", "E D"),
    ("mlm_head/dense/bias", "cls.predictions.transform.dense.bias", "E", "E"),
    ("mlm_head/layer_norm/scale", "cls.predictions.transform.LayerNorm.weight", "D", "D"),
    ("mlm_head/layer_norm/bias", "cls.predictions.transform.LayerNorm.bias", "D", "D"),
    ("mlm_head/bias", "cls.predictions.bias", "V", "V"),
    ("pair_head/dense/kernel", "cls.seq_relationship.weight", "DC", "C D"),
    ("pair_head/dense/bias", "cls.seq_relationship.bias", "C", "C"),
)

HEADS = ("bert/pooler", "mlm_head", "pair_head")
"""The parts a checkpoint may lack; the rest, embeddings and layers, is the encoder."""

# The tied output projection: Hugging Face's second names of two tensors of the table.
TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One parameter under both names, with its shape on both sides."""

    ours: str
    theirs: str
    our_shape: tuple[int, ...]
    their_shape: tuple[int, ...]
    transposed: bool

    @property
    def head(self) -> str | None:
        """The one of `HEADS` this belongs to; None for the encoder."""
        return next((head for head in HEADS if self.ours.startswith(head + "/")), None)

    def to_hf(self, array: np.ndarray) -> np.ndarray:
        """`array` of `our_shape` in Hugging Face's layout, contiguous."""
        if self.transposed:
            return np.ascontiguousarray(array.reshape(self.their_shape[::-1]).T)
        return np.ascontiguousarray(array.reshape(self.their_shape))

    def from_hf(self, array: np.ndarray) -> np.ndarray:
        """`array` of `their_shape` in our layout, contiguous."""
        return np.ascontiguousarray(array.T if self.transposed else array).reshape(self.our_shape)


def table(config: ModelConfig) -> tuple[Entry, ...]:
    """Every parameter of `BertForPretraining(config)`."""
    sizes = {
        "V": config.vocab_size, "D": config.hidden_size, "E": config.hidden_size, "H": config.num_heads,
        "K": config.head_dim, "F": config.mlp_size, "S": config.max_positions, "T": config.type_vocab_size,
        "C": 2,
    }  # fmt: skip

    def entries() -> Iterator[Entry]:
        for ours, theirs, our_axes, their_axes in _TABLE:
            our_shape = tuple(sizes[axis] for axis in our_axes)
            their_shape = tuple(math.prod(sizes[a] for a in axis) for axis in their_axes.split())
            transposed = their_axes.replace(" ", "") != our_axes
            for i in range(config.num_layers if "{i}" in ours else 1):
                yield Entry(ours.format(i=i), theirs.format(i=i), our_shape, their_shape, transposed)

    return tuple(entries())


def to_hf(params: Mapping[str, Any], config: ModelConfig) -> dict[str, np.ndarray]:
    """Our nested parameters (or gradients) as {Hugging Face name: float32 array}.

    Raises:
      UserError: a parameter of `BertForPretraining(config)` is missing or has another shape, or there is
        one it does not have.
    """
    rest = _flatten(params)
    tensors = {}
    for entry in table(config):
        if entry.ours not in rest:
            raise UserError(
                f"parameter {entry.ours} of shape {entry.our_shape} is missing: Hugging Face's"
                " BertForPreTraining needs the encoder, its pooler and both pretraining heads"
            )
        array = np.asarray(rest.pop(entry.ours), np.float32)
        if array.shape != entry.our_shape:
            raise UserError(
                f"parameter {entry.ours} has shape {array.shape}, the config says {entry.our_shape}:"
                " parameters and config must come from the same run"
            )
        tensors[entry.theirs] = entry.to_hf(array)
    if rest:
        raise UserError(
            f"parameters that BertForPreTraining has no place for: {listed(rest)}; the config says"
            f" {config.num_layers} layers"
        )
    return tensors


def from_hf(tensors: Mapping[str, np.ndarray], config: ModelConfig) -> dict[str, Any]:
    """The table's tensors among `tensors` as our nested float32 parameters; absent ones stay absent.

    Shapes must be the table's (`interop.load` checks them where they come from a file).
    """
    params: dict[str, Any] = {}
    for entry in table(config):
        if entry.theirs not in tensors:
            continue
        *groups, leaf = entry.ours.split("/")
        node = params
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = entry.from_hf(np.asarray(tensors[entry.theirs], np.float32))
    return params


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}/"))
        else:
            flat[prefix + key] = value
    return flat


def listed(names, most: int = 5) -> str:
    """`a, b, c and 7 more`: names for a one-line message."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def canonical(name: str) -> str:
    """A tensor's name as the table has it: BertModel's own names lack "bert.", TF1's LayerNorms say gamma."""
    if name.startswith(("embeddings.", "encoder.", "pooler.")):
        name = f"bert.{name}"
    for old, new in ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")):
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return name


# ---------------------------------------------------------------------------------------------
# config.json
# ---------------------------------------------------------------------------------------------

# Our field -> config.json's key. A key that config.json leaves out has the same default on both sides.
_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "mlp_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "type_vocab_size": "type_vocab_size",
    "activation": "hidden_act",
    "layer_norm_eps": "layer_norm_eps",
    "initializer_range": "initializer_range",
    "dropout_rate": "hidden_dropout_prob",
    "attention_dropout_rate": "attention_probs_dropout_prob",
}

# hidden_act -> ours. The first name of each is the one we write: the one oldest transformers know.
_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}

# Keys that change what is computed, and the only value under which we compute the same.
_REQUIRED = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}


def config_to_hf(config: ModelConfig, *, pad_token_id: int) -> dict[str, Any]:
    """config.json of a `BertForPreTraining`."""
    values = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    values["hidden_act"] = next(name for name, ours in _ACTIVATIONS.items() if ours == config.activation)
    return {
        "architectures": ["BertForPreTraining"],
        "model_type": "bert",
        **values,
        "pad_token_id": pad_token_id,
        "tie_word_embeddings": True,
    }


def config_from_hf(raw: Mapping[str, Any], *, place: str) -> ModelConfig:
    """The model a config.json describes; `place` is the file's name for messages.

    Sizes that are a published BERT's give its preset's name; execution settings (dtype, layers, remat,
    attention_backend) are ours alone and keep their defaults.

    Raises:
      UserError: not a BERT encoder as this package computes it, or a value of the wrong type or size.
    """
    if raw.get("model_type") != "bert":
        raise UserError(
            f"{place}: model_type={raw.get('model_type')!r} must be 'bert', the one architecture read here"
            " (old BERT checkpoints name none: add the key)"
        )
    for key, value in _REQUIRED.items():
        if raw.get(key, value) != value:
            raise UserError(
                f"{place}: {key}={raw[key]!r} must be {value!r}: this encoder computes nothing else, so the"
                " checkpoint cannot be used here"
            )
    values = {ours: _field(raw, ours, key, place) for ours, key in _FIELDS.items() if key in raw}
    config = ModelConfig(**values)
    if config.hidden_size % config.num_heads:
        raise UserError(
            f"{place}: hidden_size={config.hidden_size} must be a multiple of"
            f" num_attention_heads={config.num_heads}: mend config.json"
        )
    sizes = ("num_layers", "hidden_size", "num_heads", "mlp_size")
    for name, preset in PRESETS.items():
        if all(getattr(preset, size) == getattr(config, size) for size in sizes):
            return dataclasses.replace(config, preset=name)
    return config


def _field(raw: Mapping[str, Any], ours: str, key: str, place: str) -> Any:
    value = raw[key]
    if ours == "activation":
        if value not in list(_ACTIVATIONS):  # a list, because the value may be anything
            raise UserError(
                f"{place}: hidden_act={value!r} must be one of {', '.join(_ACTIVATIONS)}: this encoder has no"
                " other activation"
            )
        return _ACTIVATIONS[value]
    is_size = isinstance(getattr(ModelConfig(), ours), int)
    if key.endswith("_prob"):
        rule, low, high = "a number in [0, 1)", 0.0, 1.0
    else:
        rule, low, high = "a whole number > 0" if is_size else "a number > 0", 5e-324, math.inf
    is_number = isinstance(value, int if is_size else (int, float)) and not isinstance(value, bool)
    if not (is_number and low <= value < high):
        raise UserError(f"{place}: {key}={value!r} must be {rule}: mend config.json")
    return value if is_size else float(value)
