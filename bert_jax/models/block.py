"""One Transformer layer as a pure function, and which layer of an encoder has what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import flax.struct
import jax

from bert_jax.config.model import ModelConfig, Part
from bert_jax.models.attention import AttentionMask, Internals, Item, self_attention
from bert_jax.models.deberta import disentangled_attention
from bert_jax.models.layers import ACTIVATIONS, Params, dense, dropout, layer_norm

Array = jax.Array

PARTS: dict[Part, tuple[str, ...]] = {
    "attention": ("attention", "attention_norm"),
    "ffn": ("mlp_in", "mlp_out", "mlp_norm"),
}
"""The parameters of a layer by the part that layers may share (ALBERT, section 3.1)."""


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """What is static about one layer."""

    owners: Mapping[Part, int]
    """the layer that holds the parameters of each part: itself, or the first of those that share them"""
    convolution: bool
    """whether a convolution of its input is added to its output (the v2 release of DeBERTa)"""


def layer_pattern(config: ModelConfig) -> tuple[LayerSpec, ...]:
    """The layers of an encoder, first to last."""
    return tuple(
        LayerSpec(
            owners={part: config.owner(part, i) for part in PARTS},
            convolution=config.convolution > 0 and i == 0,
        )
        for i in range(config.num_layers)
    )


@flax.struct.dataclass
class LayerContext:
    """What every layer reads beside its own input."""

    mask: AttentionMask
    relative_RD: Array | None
    """DeBERTa's relative table; None with absolute positions"""


@flax.struct.dataclass
class LayerKeys:
    """The keys of a layer's dropout sites in one pass; None: no dropout there.

    Rows have keys of their own; the relative table, which all rows read, has one.
    """

    probabilities_B: Array | None = None
    attention_B: Array | None = None
    mlp_B: Array | None = None
    relative_1: Array | None = None


def layer(
    params: Params,
    x_BLD: Array,
    *,
    config: ModelConfig,
    context: LayerContext,
    keys: LayerKeys,
    queries_BLD: Array | None = None,
    record: frozenset[Item] = frozenset(),
) -> tuple[Array, Internals]:
    """A layer with LayerNorm after each residual (post-LN; Vaswani et al. 2017, section 3.1; Devlin et al. 2019, A.2):

      a = LayerNorm(x + dropout(attention(x)))
      y = LayerNorm(a + dropout(mlp(a)))

    Returns y [B, L, D] and what `record` asks for of its attention.

    queries_BLD: what queries are projected from and what takes the first residual, in place of `x_BLD`, which then
    gives keys and values alone (the enhanced mask decoder).
    """

    def add_and_norm(norm: str, residual_BLD: Array, y_BLD: Array, keys_B: Array | None) -> Array:
        y_BLD = dropout(y_BLD, config.dropout_rate, keys_B)
        return layer_norm(params[norm], residual_BLD + y_BLD, eps=config.layer_norm_eps)

    residual_BLD = x_BLD if queries_BLD is None else queries_BLD
    y_BLD, internals = _attention(
        params["attention"], x_BLD, config=config, context=context, keys=keys, queries_BLD=queries_BLD,
        record=record,
    )  # fmt: skip
    x_BLD = add_and_norm("attention_norm", residual_BLD, y_BLD, keys.attention_B)
    y_BLF = ACTIVATIONS[config.activation](dense(params["mlp_in"], x_BLD))
    y_BLD = dense(params["mlp_out"], y_BLF)
    return add_and_norm("mlp_norm", x_BLD, y_BLD, keys.mlp_B), internals


def _attention(
    params: Params,
    x_BLD: Array,
    *,
    config: ModelConfig,
    context: LayerContext,
    keys: LayerKeys,
    queries_BLD: Array | None,
    record: frozenset[Item],
) -> tuple[Array, Internals]:
    """The attention that the config names, with what it needs of context and keys."""
    if context.relative_RD is None:
        return self_attention(
            params, x_BLD, config=config, mask=context.mask, keys_B=keys.probabilities_B, record=record
        )  # fmt: skip
    relative_RD = dropout(context.relative_RD[None], config.dropout_rate, keys.relative_1)[0]
    return disentangled_attention(
        params, x_BLD, config=config, mask=context.mask, relative_RD=relative_RD,
        keys_B=keys.probabilities_B, queries_BLD=queries_BLD, record=record,
    )  # fmt: skip
