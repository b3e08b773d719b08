"""The table against the model's own tree, and its layouts by hand."""

import jax
import numpy as np
import pytest

from bert_jax.config.head import HeadConfig
from bert_jax.errors import UserError
from bert_jax.interop import names
from bert_jax.interop.families import FAMILIES
from bert_jax.models import bert
from tests.interop.small import CONFIGS, params_of, variant

VARIANTS = {
    **CONFIGS,
    "bert without pooler": variant("bert", pooler="none"),
    "bert of one layer": variant("bert", num_layers=1),
    "roberta with pooler": variant("roberta", pooler="tanh"),
    "albert in groups": variant("albert", num_layers=6, groups=3),
    "albert sharing nothing": variant("albert", sharing="none"),
    "albert sharing attention": variant("albert", sharing="attention"),
    "albert sharing MLPs": variant("albert", num_layers=4, groups=2, sharing="ffn"),
    "electra without projection": variant("electra", embedding_size=0),
    "deberta with types and pooler": variant("deberta", type_vocab_size=2, pooler="gelu"),
    "deberta without decoder, c2p": variant(
        "deberta", relative__mask_decoder=False, relative__terms=("c2p",)
    ),
    "deberta p2c": variant("deberta", relative__terms=("p2c",)),
    "deberta_v2 with projections": variant(
        "deberta_v2",
        relative__projections="separate",
        relative__norm=False,
        relative__convolution=0,
        relative__buckets=0,
    ),
    "bert that classifies": variant("bert", head=HeadConfig(kind="classification", labels=("a", "b", "c"))),
    "roberta of numbers": variant("roberta", head=HeadConfig(kind="regression", hidden="tanh")),
    "distilbert of several labels": variant(
        "distilbert", head=HeadConfig(kind="multilabel", labels=("a", "b"), hidden="relu")
    ),
    "electra of spans": variant("electra", head=HeadConfig(kind="span")),
    "deberta_v2 that tags": variant("deberta_v2", head=HeadConfig(kind="tagging", labels=("O", "B"))),
    "albert of sentences": variant("albert", head=HeadConfig(kind="embedding")),
}


@pytest.mark.parametrize("case", VARIANTS)
def test_the_table_names_every_parameter_of_the_model(case):
    """Each of ours, with the model's shape, and under one name where it is held once."""
    config = VARIANTS[case]
    family = FAMILIES[config.family]
    kinds = {"mlm_head/bias": "mlm", "pair_head/dense": "pair", "rtd_head/dense": "rtd"}
    heads = tuple(kind for path, kind in kinds.items() if path in family.names)
    if config.pooler == "none":
        heads = tuple(kind for kind in heads if kind != "pair")
    shapes = jax.eval_shape(lambda key: bert.init_params(config, key, heads), jax.random.key(0))
    ours = {
        "/".join(part.key for part in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }
    table = names.table(config)
    assert {path: entry.our_shape for entry in table for path in entry.ours} == ours
    assert len({entry.theirs for entry in table}) == len(table)
    held = sum(len(entry.ours) for entry in table)
    assert held == len(ours) or config.sharing in ("attention", "ffn")


@pytest.mark.parametrize("case", VARIANTS)
def test_there_and_back_is_the_same(case):
    config = VARIANTS[case]
    params = params_of(config, names.HEADS)
    tensors = names.to_hf(params, config)
    assert tensors.keys() == {entry.theirs for entry in names.table(config)}
    for entry in names.table(config):
        assert tensors[entry.theirs].shape == entry.their_shape
    back = names.from_hf(tensors, config)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def layer(params, i=1):
    return params["bert"]["encoder"][f"layer_{i}"]


def test_a_kernel_by_hand():
    """torch: y = x W^T with heads side by side in the rows of W; ours: einsum over D, heads an axis."""
    params = params_of(CONFIGS["bert"])
    tensors = names.to_hf(params, CONFIGS["bert"])
    kernel_DHK = layer(params)["attention"]["key"]["kernel"]
    weight = tensors["bert.encoder.layer.1.attention.self.key.weight"]
    assert weight[2 * 4 + 3, 7] == kernel_DHK[7, 2, 3]
    kernel_HKD = layer(params)["attention"]["output"]["kernel"]
    weight = tensors["bert.encoder.layer.1.attention.output.dense.weight"]
    assert weight[7, 2 * 4 + 3] == kernel_HKD[2, 3, 7]


def test_debertas_fused_projection_by_hand():
    """Rows head by head, and in each head the query's, the key's, the value's."""
    params = params_of(CONFIGS["deberta"])
    tensors = names.to_hf(params, CONFIGS["deberta"])
    weight = tensors["deberta.encoder.layer.1.attention.self.in_proj.weight"]
    assert weight.shape == (36, 12)
    for q, name in enumerate(("query", "key", "value")):
        kernel_DHK = layer(params)["attention"][name]["kernel"]
        assert weight[2 * 12 + q * 4 + 3, 7] == kernel_DHK[7, 2, 3], name
    bias_HK = layer(params)["attention"]["value"]["bias"]
    assert tensors["deberta.encoder.layer.1.attention.self.v_bias"][2 * 4 + 3] == bias_HK[2, 3]


def test_a_convolution_by_hand():
    """torch's Conv1d: [out, in, tap]."""
    params = params_of(CONFIGS["deberta_v2"])
    weight = names.to_hf(params, CONFIGS["deberta_v2"])["deberta.encoder.conv.conv.weight"]
    assert weight[7, 5, 2] == params["bert"]["encoder"]["convolution"]["kernel"][2, 5, 7]


def test_what_layers_share_is_repeated_where_the_family_has_no_name_for_it():
    config = variant("albert", num_layers=4, groups=2, sharing="ffn")
    params = params_of(config)
    tensors = names.to_hf(params, config)
    kernel_DF = layer(params, 2)["mlp_in"]["kernel"]
    assert "mlp_in" not in layer(params, 3) and "attention" in layer(params, 3)
    for i in (2, 3):
        weight = tensors[f"albert.encoder.albert_layer_groups.{i}.albert_layers.0.ffn.weight"]
        np.testing.assert_array_equal(weight, kernel_DF.T)


@pytest.mark.parametrize("family", FAMILIES)
def test_names_without_prefix_and_older_ones(family):
    prefix = f"{FAMILIES[family].prefix}."
    table = [entry.theirs for entry in names.table(CONFIGS[family])]
    for name in table:
        assert names.canonical(name, FAMILIES[family]) == name
        old = name.removeprefix(prefix).replace("LayerNorm.weight", "LayerNorm.gamma")
        assert names.canonical(old.replace("LayerNorm.bias", "LayerNorm.beta"), FAMILIES[family]) == name
    assert any(name.startswith(prefix) for name in table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["mlm_head"].pop("bias"), "parameter mlm_head/bias of shape (41,) is missing"),
        (
            lambda p: p["bert"].pop("embeddings"),
            "parameter bert/embeddings/token of shape (41, 12) is missing",
        ),
        (
            lambda p: p.update(extra={"bias": np.ones(1)}),
            "the config, 2 layers of family 'bert', has no place for: extra/bias",
        ),
        (
            lambda p: p.update(pair_head={"dense": {"kernel": np.ones((12, 3))}}),
            "parameter pair_head/dense/kernel has shape (12, 3), the config says (12, 2)",
        ),
    ],
)
def test_parameters_that_are_not_the_configs(change, message):
    params = params_of(CONFIGS["bert"])
    change(params)
    with pytest.raises(UserError) as caught:
        names.to_hf(params, CONFIGS["bert"])
    assert message in str(caught.value) and "\n" not in str(caught.value)
