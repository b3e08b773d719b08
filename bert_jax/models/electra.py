"""Replaced-token detection: a generator fills the masks, a discriminator tells which tokens it replaced.

ELECTRA (Clark et al. 2020, section 3.1); with embedding_sharing="disentangled" DeBERTa-v3's
gradient-disentangled embedding sharing (He et al. 2021b, section 3.3), of which the discriminator's tables are

    E_D = sg(E_G) + E_delta        sg: no gradient passes; E_delta starts at zero

The parameters of both are one tree {"generator": {bert, mlm_head}, "discriminator": {bert, rtd_head}}. Tables
that are shared are in the discriminator's part alone; those that are disentangled are differences there.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.batch import Batch
from bert_jax.config import PretrainConfig
from bert_jax.config.electra import discriminator_config, generator_config
from bert_jax.models import bert
from bert_jax.models.bert import BertWithHeads, Output
from bert_jax.models.layers import dropout_keys

Array = jax.Array

GENERATOR_HEADS, DISCRIMINATOR_HEADS = ("mlm",), ("rtd",)

# What ELECTRA's code reuses: the scope of the embeddings, which the projection to D stands outside of.
_SHARED = ("token", "position", "type", "norm")
# What DeBERTa's code disentangles; LayerNorm and types stay each encoder's own.
_DELTAS = ("token", "position")


def init_params(config: PretrainConfig, key: Array) -> dict[str, Any]:
    """Fresh float32 parameters of both encoders, in one tree."""
    generator_key, discriminator_key = jax.random.split(key)
    model, objective = config.model, config.objective
    generator = bert.init_params(generator_config(model, objective), generator_key, GENERATOR_HEADS)
    discriminator = bert.init_params(discriminator_config(model), discriminator_key, DISCRIMINATOR_HEADS)
    if objective.embedding_sharing == "disentangled":  # no difference at the start
        given, tables = _tables(generator), _tables(discriminator)
        discriminator = _with_tables(
            discriminator, tables | {name: given[name] for name in _DELTAS if name in tables}
        )
    return join(generator, discriminator, objective.embedding_sharing)


def join(generator: Any, discriminator: Any, sharing: str) -> dict[str, Any]:
    """The tree of a run out of {bert, mlm_head} and {bert, rtd_head}, which each stand alone.

    The inverse of `generator_params` and `discriminator_params`. Of tables that are shared, the
    discriminator's are kept.
    """
    given, tables = _tables(generator), _tables(discriminator)
    if sharing == "shared":
        own = {name: leaf for name, leaf in given.items() if name not in shared_tables(discriminator)}
        generator = _with_tables(generator, own)
    elif sharing == "disentangled":
        differences = {name: tables[name] - given[name] for name in _DELTAS if name in tables}
        discriminator = _with_tables(discriminator, tables | differences)
    return {"generator": generator, "discriminator": discriminator}


def shared_tables(discriminator: Any) -> dict[str, Any]:
    """What of {bert, rtd_head} a generator with embedding_sharing="shared" has too: bert/embeddings/NAME."""
    return {name: leaf for name, leaf in _tables(discriminator).items() if name in _SHARED}


def generator_params(params: Any, sharing: str) -> dict[str, Any]:
    """{bert, mlm_head}: the generator alone, with the tables that it shares."""
    generator = params["generator"]
    if sharing != "shared":
        return generator
    return _with_tables(generator, shared_tables(params["discriminator"]) | _tables(generator))


def discriminator_params(params: Any, sharing: str) -> dict[str, Any]:
    """{bert, rtd_head}: the discriminator alone, differences added to the generator's tables."""
    discriminator = params["discriminator"]
    if sharing != "disentangled":
        return discriminator
    given, tables = _tables(params["generator"]), _tables(discriminator)
    sums = {k: jax.lax.stop_gradient(given[k]) + tables[k] for k in _DELTAS if k in tables}
    return _with_tables(discriminator, tables | sums)


def forward(config: PretrainConfig, params: Any, batch: Batch, dropout_key: Array | None = None) -> Output:
    """Masked rows -> the discriminator's output, the generator's logits, and the tokens that it wrote.

    No gradient passes through what was written. Dropout and the draw are keyed by (seed, step, example);
    without `dropout_key` there is no dropout, and the draw is keyed by the example alone.
    """
    model, objective = config.model, config.objective
    generator_key = discriminator_key = None
    draw_key = jax.random.key(0, impl="threefry2x32")
    if dropout_key is not None:
        generator_key, discriminator_key, draw_key = jax.random.split(dropout_key, 3)

    generator = BertWithHeads(generator_config(model, objective), GENERATOR_HEADS)
    variables = {"params": generator_params(params, objective.embedding_sharing)}
    guess: Any = generator.apply(variables, batch, dropout_key=generator_key)
    logits_BMV = guess.mlm_logits_BMV
    drawn_BM = draw(logits_BMV, draw_key, batch["example_ids_B"], temperature=objective.temperature)
    tokens_BL, replaced_BL = replace(batch, drawn_BM)

    discriminator = BertWithHeads(discriminator_config(model), DISCRIMINATOR_HEADS)
    variables = {"params": discriminator_params(params, objective.embedding_sharing)}
    rows: Batch = {**batch, "tokens_BL": tokens_BL}
    answer: Any = discriminator.apply(variables, rows, dropout_key=discriminator_key)
    return dataclasses.replace(
        answer, mlm_logits_BMV=logits_BMV, tokens_BL=tokens_BL, replaced_BL=replaced_BL
    )


def draw(logits_BMV: Array, key: Array, example_ids_B: Array, *, temperature: float) -> Array:
    """A token a slot from softmax(logits / temperature), by adding Gumbel noise; int32 [B, M]."""
    keys_B = dropout_keys(key, example_ids_B, 1)[:, 0]
    logits_BMV = jax.lax.stop_gradient(logits_BMV) / temperature
    return jax.vmap(jax.random.categorical)(keys_B, logits_BMV).astype(jnp.int32)


def replace(batch: Batch, drawn_BM: Array) -> tuple[Array, Array]:
    """The rows with `drawn_BM` in their slots in use, and where that changed the text.

    A draw that is the text's own token counts as original (section 3.1).
    """
    tokens_BL, used_BM = batch["tokens_BL"], batch["mlm_weights_BM"] > 0
    # Comparing every slot with every place is cheap beside a layer, and needs no scatter.
    places_L = jnp.arange(tokens_BL.shape[1])
    at_BML = (batch["mlm_positions_BM"][..., None] == places_L[None, None]) & used_BM[..., None]
    drawn_BL = jnp.sum(jnp.where(at_BML, drawn_BM[..., None], 0), axis=1)
    wrong_BM = drawn_BM != batch["mlm_targets_BM"]
    replaced_BL = jnp.any(at_BML & wrong_BM[..., None], axis=1)
    return jnp.where(jnp.any(at_BML, axis=1), drawn_BL, tokens_BL), replaced_BL


def _tables(params: Any) -> dict[str, Any]:
    return params["bert"].get("embeddings", {})


def _with_tables(params: Any, tables: Any) -> dict[str, Any]:
    """`params` with these embedding tables; without any, it has no place for them."""
    rest = {name: part for name, part in params["bert"].items() if name != "embeddings"}
    return {**params, "bert": {"embeddings": tables, **rest} if tables else rest}
