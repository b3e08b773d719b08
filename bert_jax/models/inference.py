"""A model as one function of plain arrays: what the API calls, and what an export compiles."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.config.presets import ModelConfig
from bert_jax.models import bert

Array = jax.Array

Head = Literal["mlm", "pair", "rtd"]
HEADS: tuple[Head, ...] = typing.get_args(Head)
PLATFORMS = ("cpu", "cuda", "tpu")


class Field(NamedTuple):
    """An input or output of an exported program."""

    axes: str
    dtype: str
    meaning: str


INPUTS = {
    "tokens": Field("BL", "int32", "token ids"),
    "type_ids": Field("BL", "int32", "0 for sentence A (and where there is but one), 1 for sentence B"),
    "mask": Field("BL", "int32", "1 for tokens, 0 for padding, which must come last"),
}
_OUTPUTS = {
    "hidden": Field("BLD", "float32", "the last layer's output"),
    "pooled": Field("BD", "float32", "the pooler's output for the first token"),
    "mlm_logits": Field("BLV", "float32", "scores of each token of the vocabulary, at each position"),
    "pair_logits": Field("BC", "float32", "scores of the sentence pair's two labels"),
    "rtd_logits": Field("BL", "float32", "score of each token being replaced"),
}


def fitted(config: ModelConfig, params: Mapping[str, Any]) -> tuple[ModelConfig, tuple[str, ...]]:
    """The config and heads of the `BertForPretraining` that `params` fill: no pooler or head that they lack."""
    heads: tuple[str, ...] = tuple(head for head in HEADS if f"{head}_head" in params)
    if "pooler" not in params["bert"]:
        config = dataclasses.replace(config, pooler="none")
        heads = tuple(head for head in heads if head != "pair")  # it reads the pooler
    return config, heads


def forward(
    config: ModelConfig,
    params: Mapping[str, Any],
    tokens_BL: Array,
    type_ids_BL: Array,
    mask_BL: Array,
    *,
    attentions: bool = False,
) -> bert.Output:
    """One example a row, with the heads that `params` have; every position is an M, and P is 1."""
    mask_BL = (mask_BL != 0).astype(jnp.int32)
    positions_BL = jnp.broadcast_to(jnp.arange(tokens_BL.shape[1], dtype=jnp.int32), tokens_BL.shape)
    batch = {
        "tokens_BL": tokens_BL,
        "type_ids_BL": type_ids_BL,
        "pack_ids_BL": mask_BL,
        "positions_BL": positions_BL,
        "mlm_positions_BM": positions_BL,
        "first_BP": jnp.zeros_like(tokens_BL[:, :1]),
    }
    model = bert.BertForPretraining(*fitted(config, params))
    out: Any = model.apply({"params": params}, batch, attentions=attentions)
    return out


def portable(config: ModelConfig) -> Callable[..., dict[str, Array]]:
    """(params, tokens_BL, type_ids_BL, mask_BL) -> {output: float32 array}, for any platform."""
    config = dataclasses.replace(config, attention_backend="xla")

    def program(params, tokens_BL: Array, type_ids_BL: Array, mask_BL: Array) -> dict[str, Array]:
        out = forward(config, params, tokens_BL, type_ids_BL, mask_BL)
        values = {
            "hidden": out.hidden_BLD,
            "pooled": None if out.pooled_BPD is None else out.pooled_BPD[:, 0],
            "mlm_logits": out.mlm_logits_BMV,
            "pair_logits": None if out.pair_logits_BPC is None else out.pair_logits_BPC[:, 0],
            "rtd_logits": out.rtd_logits_BL,
        }
        return {name: array.astype(jnp.float32) for name, array in values.items() if array is not None}

    return program


def outputs_of(config: ModelConfig, params: Mapping[str, Any]) -> dict[str, Field]:
    """The outputs that `portable(config)` has for `params`, in order."""
    one = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    shapes = jax.eval_shape(portable(config), params, one, one, one)
    return {name: field for name, field in _OUTPUTS.items() if name in shapes}
