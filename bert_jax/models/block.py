"""One Transformer layer as a pure function, and which layer of an encoder has what."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from bert_jax.config.model import ModelConfig, Part, Reach, Remat
from bert_jax.models.attention import AttentionMask, Internals, Item, self_attention
from bert_jax.models.deberta import disentangled_attention
from bert_jax.models.feedforward import feedforward
from bert_jax.models.layers import Params, dropout, norm
from bert_jax.models.rotary import Rotation

Array = jax.Array

PARTS: dict[Part, tuple[str, ...]] = {
    "attention": ("attention", "attention_norm"),
    "ffn": ("mlp_in", "mlp_gated_in", "mlp_out", "mlp_norm"),
}
"""The parameters that a layer may have, by the part that layers may share (ALBERT, section 3.1)."""


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """What is static about one layer."""

    owners: Mapping[Part, int]
    """the layer that holds the parameters of each part: itself, or the first of those that share them"""
    reach: Reach
    """which tokens its queries attend to"""
    is_first_without_norm: bool
    """whether its attention reads the embeddings as they are, where the other layers normalise what they read"""
    convolution: bool
    """whether a convolution of its input is added to its output (the v2 release of DeBERTa)"""

    @property
    def is_alone(self) -> bool:
        """Whether it has, or lacks, what no other layer does."""
        return self.convolution or self.is_first_without_norm


def layer_pattern(config: ModelConfig) -> tuple[LayerSpec, ...]:
    """The layers of an encoder, first to last."""
    return tuple(
        LayerSpec(
            owners={part: config.owner(part, i) for part in PARTS},
            reach=config.reach(i),
            is_first_without_norm=i == 0 and not config.norm.first,
            convolution=i == 0 and config.relative.convolution > 0,
        )
        for i in range(config.num_layers)
    )


def recomputed(function: Callable[..., Any], remat: Remat, *, prevent_cse: bool = True) -> Callable[..., Any]:
    """`function`, of a layer or more, whose gradient computes again what `remat` says beyond attention's own part."""
    policies = {"dots": _save_products, "full": None}
    if remat not in policies:
        return function
    return jax.checkpoint(function, policy=policies[remat], prevent_cse=prevent_cse)


_save_products = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
"""Products with parameters are kept; those of two activations, scores and their averages of values, are not."""


@flax.struct.dataclass
class LayerContext:
    """What every layer reads beside its own input."""

    mask: AttentionMask
    relative_RD: Array | None = None
    """DeBERTa's relative table; None with other positions"""
    turns: Mapping[Reach, Rotation] | None = None
    """rotary positions of the layers of each reach; None with other positions"""


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
    reach: Reach,
    context: LayerContext,
    keys: LayerKeys,
    queries_BLD: Array | None = None,
    record: frozenset[Item] = frozenset(),
) -> tuple[Array, Internals]:
    """A layer with a norm after each residual sum (Vaswani et al. 2017, section 3.1; Devlin et al. 2019, A.2):

      a = norm(x + dropout(attention(x)))
      y = norm(a + dropout(mlp(a)))

    or before each block (Xiong et al. 2020, table 1):

      a = x + dropout(attention(norm(x)))
      y = a + dropout(mlp(norm(a)))

    Returns y [B, L, D] and what `record` asks for of its attention.

    queries_BLD: what queries are projected from and what takes the first residual, in place of `x_BLD`, which then
    gives keys and values alone (the enhanced mask decoder).
    """
    is_before = config.norm.place == "before"

    def normed(name: str, x: Array, *, where: bool) -> Array:
        """Normalised where this is the place; the first layer may have no norm of its own."""
        return norm(params[name], x, config=config.norm) if where and name in params else x

    add = jax.named_scope("residual")(jnp.add)
    residual_BLD = x_BLD if queries_BLD is None else queries_BLD
    attention: Callable[..., Any] = functools.partial(_attention, config=config, reach=reach, record=record)
    if config.remat == "attention":
        attention = jax.checkpoint(attention, policy=_save_products)
    y_BLD, internals = attention(
        params["attention"], normed("attention_norm", x_BLD, where=is_before), context=context, keys=keys,
        queries_BLD=queries_BLD,
    )  # fmt: skip
    x_BLD = add(residual_BLD, dropout(y_BLD, config.dropout("attention"), keys.attention_B))
    x_BLD = normed("attention_norm", x_BLD, where=not is_before)
    y_BLD = feedforward(params, normed("mlp_norm", x_BLD, where=is_before), config=config)
    x_BLD = add(x_BLD, dropout(y_BLD, config.dropout("mlp"), keys.mlp_B))
    return normed("mlp_norm", x_BLD, where=not is_before), internals


@jax.named_scope("attention")
def _attention(
    params: Params,
    x_BLD: Array,
    *,
    config: ModelConfig,
    reach: Reach,
    context: LayerContext,
    keys: LayerKeys,
    queries_BLD: Array | None,
    record: frozenset[Item],
) -> tuple[Array, Internals]:
    """The attention that the config names, with what it needs of context and keys."""
    is_local = reach == "local"
    if context.relative_RD is None:
        turn = None if context.turns is None else context.turns[reach]
        return self_attention(
            params, x_BLD, config=config, mask=context.mask, keys_B=keys.probabilities_B, is_local=is_local,
            turn=turn, record=record,
        )  # fmt: skip
    relative_RD = dropout(context.relative_RD[None], config.dropout("embeddings"), keys.relative_1)[0]
    return disentangled_attention(
        params, x_BLD, config=config, mask=context.mask, relative_RD=relative_RD,
        keys_B=keys.probabilities_B, is_local=is_local, queries_BLD=queries_BLD, record=record,
    )  # fmt: skip
