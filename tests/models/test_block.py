"""A layer by itself: the pattern of layers, the wiring of residuals and LayerNorm, the dropout sites."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models.attention import attention_mask, self_attention
from bert_jax.models.block import PARTS, LayerContext, LayerKeys, layer, layer_pattern
from bert_jax.models.deberta import disentangled_attention
from bert_jax.models.declare import rows_below
from bert_jax.models.layers import dropout_keys, gelu
from tests.models.variants import VARIANTS, random_params, shapes_below, variant

B, L = 2, 9
PACK_IDS = jnp.array([[1] * L, [1] * 6 + [0] * 3])
MASK = attention_mask(PACK_IDS, packed=False)
ATTENTIONS = frozenset({"probabilities"})


def states(seed):
    return jax.random.normal(jax.random.key(seed), (B, L, 24))


def params_of(config):
    return random_params(shapes_below("bert/encoder/layer_{i}", config))


def context_of(config):
    table = None
    if config.positions == "disentangled":
        table = jax.random.normal(jax.random.key(9), (config.relative.rows, 24))
    return LayerContext(MASK, table)


def test_layers_that_share_have_the_owner_of_their_group():
    owners = {
        name: [(spec.owners["attention"], spec.owners["ffn"]) for spec in layer_pattern(VARIANTS[name])]
        for name in ("bert", "albert", "albert-groups", "shared-attention", "shared-ffn")
    }
    assert owners == {
        "bert": [(0, 0), (1, 1)],
        "albert": [(0, 0), (0, 0)],
        "albert-groups": [(0, 0), (0, 0), (2, 2), (2, 2)],
        "shared-attention": [(0, 0), (0, 1)],
        "shared-ffn": [(0, 0), (1, 0)],
    }


def test_the_convolution_is_beside_the_first_layer_alone():
    pattern = layer_pattern(variant("deberta-v2", num_layers=3))
    assert [spec.convolution for spec in pattern] == [True, False, False]
    assert not any(spec.convolution for spec in layer_pattern(VARIANTS["deberta-v3"]))


def test_every_parameter_of_a_layer_is_in_one_part():
    names = [name for part in PARTS.values() for name in part]
    held = {name for variant in VARIANTS.values() for name in rows_below("bert/encoder/layer_{i}", variant)}
    assert sorted(names) == sorted(held)


def layer_norm(x, params, eps):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * params["scale"] + params["bias"]


@pytest.mark.parametrize(("name", "with_queries"), [("bert", False), ("deberta", False), ("deberta", True)])
def test_layer_norm_comes_after_each_residual(name, with_queries):
    config = VARIANTS[name]
    params, x, context = params_of(config), states(0), context_of(config)
    queries = states(1) if with_queries else None
    arguments = {"config": config, "mask": MASK, "keys_B": None, "record": ATTENTIONS}
    if name == "bert":
        attended, found = self_attention(params["attention"], x, **arguments)
    else:
        arguments |= {"relative_RD": context.relative_RD, "queries_BLD": queries}
        attended, found = disentangled_attention(params["attention"], x, **arguments)
    residual = np.asarray(queries if with_queries else x)
    a = layer_norm(residual + np.asarray(attended), params["attention_norm"], config.norm.eps)
    inner = np.asarray(gelu(jnp.asarray(a @ params["mlp_in"]["kernel"] + params["mlp_in"]["bias"])))
    mlp = inner @ params["mlp_out"]["kernel"] + params["mlp_out"]["bias"]
    expected = layer_norm(a + mlp, params["mlp_norm"], config.norm.eps)
    y, recorded = layer(
        params,
        x,
        config=config,
        reach="global",
        context=context,
        keys=LayerKeys(),
        queries_BLD=queries,
        record=ATTENTIONS,
    )
    np.testing.assert_allclose(y, expected, atol=2e-5)
    np.testing.assert_array_equal(recorded.probabilities_BHLT, found.probabilities_BHLT)
    _, none = layer(
        params, x, config=config, reach="global", context=context, keys=LayerKeys(), queries_BLD=queries
    )
    assert not jax.tree.leaves(none)


@pytest.mark.parametrize("name", ["bert", "deberta"])
def test_every_dropout_site_has_a_key_of_its_own(name):
    config = variant(name, dropout_rate=0.5, attention_dropout_rate=0.5)
    params, x, context = params_of(config), states(0), context_of(config)
    key = dropout_keys(jax.random.key(0), jnp.arange(B, dtype=jnp.uint32), 1)[:, 0]
    sites = {
        field.name: key[:1] if field.name == "relative_1" else key for field in dataclasses.fields(LayerKeys)
    }
    if name == "bert":
        del sites["relative_1"]

    @jax.jit
    def run(keys):
        return layer(params, x, config=config, reach="global", context=context, keys=keys)[0]

    outputs = [run(LayerKeys()), *(run(LayerKeys(**{site: value})) for site, value in sites.items())]
    for i, one in enumerate(outputs):
        for other in outputs[:i]:
            assert np.abs(one - other).max() > 0.1
