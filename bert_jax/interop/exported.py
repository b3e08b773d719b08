"""A model as the one program that an export holds: its inputs, outputs and platforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bert_jax.config.model import ModelConfig
from bert_jax.models.inference import forward

Array = jax.Array

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
    "pair_logits": Field("B2", "float32", "scores of the sentence pair's two labels"),
    "rtd_logits": Field("BL", "float32", "score of each token being replaced"),
    "class_logits": Field(
        "BC", "float32", "the task head's scores of a text's classes or labels, or its number"
    ),
    "token_logits": Field(
        "BLC",
        "float32",
        "the task head's scores of each token's classes, or of an answer's first and last token",
    ),
    "embedding": Field("BD", "float32", "a text's vector, not normalised"),
}


def portable(config: ModelConfig) -> Callable[..., dict[str, Array]]:
    """(params, tokens_BL, type_ids_BL, mask_BL) -> {output: float32 array}, for any platform."""
    config = config.portable()

    def program(params: Any, tokens_BL: Array, type_ids_BL: Array, mask_BL: Array) -> dict[str, Array]:
        out = forward(config, params, tokens_BL, type_ids_BL, mask_BL)
        values = {
            "hidden": out.hidden_BLD,
            "pooled": out.pooled_BD,
            "mlm_logits": out.mlm_logits_BLV,
            "pair_logits": out.pair_logits_BC,
            "rtd_logits": out.rtd_logits_BL,
            "class_logits": _only(out.class_logits_BPC),
            "token_logits": out.token_logits_BLC,
            "embedding": _only(out.embeddings_BPD),
        }
        return {name: array.astype(jnp.float32) for name, array in values.items() if array is not None}

    return program


def _only(values_BPX: Array | None) -> Array | None:
    """Those of the one text that a row of `inference.forward` has."""
    return None if values_BPX is None else values_BPX[:, 0]


def outputs_of(config: ModelConfig, params: Mapping[str, Any]) -> dict[str, Field]:
    """The outputs that `portable(config)` has for `params`, in order."""
    one = jax.ShapeDtypeStruct((1, 1), jnp.int32)
    shapes = jax.eval_shape(portable(config), params, one, one, one)
    return {name: field for name, field in _OUTPUTS.items() if name in shapes}
