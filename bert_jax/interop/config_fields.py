"""The entries of a config.json: reading them with their rules, and those that are not one field of ours each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from bert_jax.config.model import ModelConfig, Reach
from bert_jax.errors import UserError

MOST = 2**31 - 1  # ids, positions and distances are int32
MOST_LAYERS = 1000  # each has names to look up, whatever the file holds


@dataclasses.dataclass(frozen=True)
class Reader:
    """A config.json, `transformers`' defaults filled in.

    place: the file, for messages. hint: what to do about a value that makes no sense; foreign: about one of a
    model that is not computed here.
    """

    raw: Mapping[str, Any]
    place: str
    hint: str
    foreign: str
    given: frozenset[str] = frozenset()
    """the keys that the file itself has"""

    def fail(self, key: str, rule: str, hint: str | None = None) -> NoReturn:
        value = repr(self.raw.get(key))
        value = value if len(value) <= 200 else f"{value[:200]}..."
        raise UserError(f"{self.place}: {key}={value} must be {rule}: {hint or self.hint}")

    def size(self, key: str, *, least: int = 1, most: int = MOST) -> int:
        value = self.raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.fail(key, f"a whole number >= {least}" if least != 1 else "a whole number > 0")
        if value > most:
            self.fail(key, f"a whole number <= {most}")
        return value

    def number(self, key: str) -> float:
        return self._number(key, "a number > 0", 5e-324, math.inf)

    def rate(self, key: str) -> float:
        return self._number(key, "a number in [0, 1)", 0.0, 1.0)

    def _number(self, key: str, rule: str, low: float, high: float) -> float:
        value = self.raw.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
            self.fail(key, rule)
        return float(value)

    def choice(self, key: str, options: Sequence[Any]) -> Any:
        value = self.raw.get(key)
        if value not in list(options):  # a list, because the value may be anything
            rule = f"one of {', '.join(map(str, options))}" if len(options) > 1 else repr(options[0])
            self.fail(key, rule, self.foreign)
        return value


@dataclasses.dataclass(frozen=True)
class Special:
    """Entries that belong together. read: -> fields of ours; write: (config, pad token id) -> entries."""

    read: Callable[[Reader], dict[str, Any]]
    write: Callable[[ModelConfig, int], dict[str, Any]]


def reaches(config: ModelConfig) -> tuple[Reach, ...]:
    """The reach of each layer, however long the pattern is that says so."""
    return tuple(config.reach(i) for i in range(config.num_layers))


# ---------------------------------------------------------------------------------------------
# RoBERTa: positions are counted from the padding's id + 1.
# ---------------------------------------------------------------------------------------------


def _read_positions(reader: Reader) -> dict[str, Any]:
    offset = reader.size("pad_token_id", least=0) + 1
    rows = reader.size("max_position_embeddings")
    if rows <= offset:
        reader.fail("max_position_embeddings", f"> pad_token_id + 1 = {offset}")
    return {"max_positions": rows - offset, "position_offset": offset}


def _write_positions(config: ModelConfig, pad: int) -> dict[str, Any]:
    if config.position_offset != pad + 1:
        raise UserError(
            f"model.position_offset={config.position_offset} must be the tokenizer's padding id {pad} + 1, where"
            " Hugging Face's RoBERTa starts to count positions: export with the tokenizer it was trained with"
        )
    return {"max_position_embeddings": config.position_rows}


POSITIONS_AFTER_PAD = Special(_read_positions, _write_positions)


# ---------------------------------------------------------------------------------------------
# ALBERT: a projection of the embeddings, always; groups of layers that share everything.
# ---------------------------------------------------------------------------------------------


def written_layers(config: ModelConfig) -> int:
    """Layers that an export holds: a group's that share everything once, others each."""
    return config.groups if config.sharing == "all" else config.num_layers


def _read_groups(reader: Reader) -> dict[str, Any]:
    layers, groups = reader.size("num_hidden_layers"), reader.size("num_hidden_groups")
    if layers % groups:
        reader.fail("num_hidden_groups", f"a divisor of num_hidden_layers={layers}")
    shares = groups < layers or layers == 1
    return {
        "embedding_size": reader.size("embedding_size"),
        "sharing": "all" if shares else "none",
        "groups": groups if shares else 1,
    }


def _write_groups(config: ModelConfig, pad: int) -> dict[str, Any]:
    if not config.embedding_size:
        raise UserError(
            "model.embedding_size=0 must be > 0 to be exported as 'albert', which always projects its"
            f" embeddings: train with model.embedding_size={config.hidden_size}, or choose another model.family"
        )
    groups = written_layers(config)
    return {"embedding_size": config.embedding_size, "num_hidden_groups": groups, "inner_group_num": 1}


LAYER_GROUPS = Special(_read_groups, _write_groups)


# ---------------------------------------------------------------------------------------------
# ELECTRA: a projection of the embeddings where their width is not the layers'.
# ---------------------------------------------------------------------------------------------


def _read_embedding(reader: Reader) -> dict[str, Any]:
    width = reader.size("embedding_size")
    return {"embedding_size": 0 if width == reader.size("hidden_size") else width}


EMBEDDING_WIDTH = Special(_read_embedding, lambda config, pad: {"embedding_size": config.embedding_width})


# ---------------------------------------------------------------------------------------------
# DeBERTa: disentangled attention.
# ---------------------------------------------------------------------------------------------

_TERMS = ("c2p", "p2c")


def _read_relative(reader: Reader) -> dict[str, Any]:
    raw, width = reader.raw, reader.size("hidden_size")
    given = raw.get("pos_att_type")
    if isinstance(given, str):
        given = [term.strip() for term in given.lower().split("|")]
    found = list(given) if isinstance(given, list | tuple) else []
    if not found or any(term not in _TERMS for term in found) or len(set(found)) < len(found):
        reader.fail("pos_att_type", "c2p, p2c or both", reader.foreign)
    if raw.get("embedding_size", width) != width:
        reader.fail("embedding_size", f"hidden_size={width}", reader.foreign)
    span = reader.size("max_relative_positions", least=-1)
    return {
        "relative.terms": tuple(term for term in _TERMS if term in found),
        "relative.span": span if span > 0 else reader.size("max_position_embeddings"),
        "pooler": reader.choice("pooler_hidden_act", ("gelu", "tanh")),
    }


def _write_relative(config: ModelConfig, pad: int) -> dict[str, Any]:
    return {
        "relative_attention": True,
        "position_biased_input": False,
        "max_relative_positions": config.relative.span,
        "pos_att_type": list(config.relative.terms),
        "pooler_hidden_act": "gelu" if config.pooler == "none" else config.pooler,
        "legacy": False,
    }


RELATIVE = Special(_read_relative, _write_relative)

_NORMS = {"layer_norm": True, "none": False}


def _read_second(reader: Reader) -> dict[str, Any]:
    raw, width, heads = reader.raw, reader.size("hidden_size"), reader.size("num_attention_heads")
    if raw.get("attention_head_size", width // heads) != width // heads:
        reader.fail(
            "attention_head_size", f"hidden_size / num_attention_heads = {width // heads}", reader.foreign
        )
    taps = reader.size("conv_kernel_size", least=0)
    if taps:
        reader.choice("conv_act", ("gelu",))
        reader.choice("conv_groups", (1,))
        if taps % 2 == 0:
            reader.fail("conv_kernel_size", "odd", reader.foreign)
    buckets = max(0, reader.size("position_buckets", least=-1))
    if buckets % 2:
        reader.fail("position_buckets", "even", reader.foreign)
    return {
        "relative.buckets": buckets,
        "relative.projections": "shared" if reader.choice("share_att_key", (True, False)) else "separate",
        "relative.norm": _NORMS[reader.choice("norm_rel_ebd", tuple(_NORMS))],
        "relative.convolution": taps,
    }


def _write_second(config: ModelConfig, pad: int) -> dict[str, Any]:
    convolution = {"conv_kernel_size": config.relative.convolution, "conv_act": "gelu", "conv_groups": 1}
    return {
        "position_buckets": config.relative.buckets or -1,
        "share_att_key": config.relative.projections == "shared",
        "norm_rel_ebd": "layer_norm" if config.relative.norm else "none",
        **(convolution if config.relative.convolution else {}),
    }


SECOND_DEBERTA = Special(_read_second, _write_second)
