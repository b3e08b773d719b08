"""Checkpoints written as google-research's code writes them, under its names, and read back."""

import dataclasses
import json
import re
import sys

import numpy as np
import pytest

from bert_jax.config import TokenizerConfig
from bert_jax.config.model import ModelConfig
from bert_jax.errors import UserError
from bert_jax.interop import names
from bert_jax.interop.config_json import named
from bert_jax.interop.load import load_hf
from bert_jax.interop.save import save_hf
from bert_jax.interop.tf1 import is_tf1, load_tf1
from bert_jax.models.parameters import flatten, nest
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks

tf = pytest.importorskip("tensorflow")

TOKENIZER = tokenizers.train(count_chunks(["a cat", "a dog"]), TokenizerConfig(vocab_size=41))
SIZES = {"vocab_size": 41, "num_layers": 4, "max_positions": 9, "type_vocab_size": 2, "mlp_size": 20}

BERT = ModelConfig(**SIZES, hidden_size=12, num_heads=3, dropout_rate=0.2)
ALBERT = ModelConfig(
    **SIZES, family="albert", hidden_size=12, num_heads=3, embedding_size=6, sharing="all", groups=2,
    activation="gelu_tanh", attention_dropout_rate=0.0,
)  # fmt: skip
ELECTRA = ModelConfig(
    **SIZES, family="electra", hidden_size=128, num_heads=2, embedding_size=6, pooler="none"
)
ELECTRA_BASE = dataclasses.replace(ELECTRA, embedding_size=0)

# Our module -> google-research's scope, layers being {i}; a module is a kernel and a bias, or a LayerNorm.
HEAD = {
    "bert/pooler/dense": "bert/pooler/dense",
    "mlm_head/dense": "cls/predictions/transform/dense",
    "mlm_head/layer_norm": "cls/predictions/transform/LayerNorm",
    "mlm_head/bias": "cls/predictions/output_bias",
    "pair_head/dense/kernel": "cls/seq_relationship/output_weights",
    "pair_head/dense/bias": "cls/seq_relationship/output_bias",
}
EMBEDDINGS = {
    "token": "word_embeddings", "position": "position_embeddings", "type": "token_type_embeddings",
    "norm": "LayerNorm",
}  # fmt: skip
LAYER = {
    "attention/query": "attention/self/query",
    "attention/key": "attention/self/key",
    "attention/value": "attention/self/value",
    "attention/output": "attention/output/dense",
    "attention_norm": "attention/output/LayerNorm",
    "mlp_in": "intermediate/dense",
    "mlp_out": "output/dense",
    "mlp_norm": "output/LayerNorm",
}
ALBERT_LAYER = {
    "attention/query": "attention_1/self/query",
    "attention/key": "attention_1/self/key",
    "attention/value": "attention_1/self/value",
    "attention/output": "attention_1/output/dense",
    "attention_norm": "LayerNorm",
    "mlp_in": "ffn_1/intermediate/dense",
    "mlp_out": "ffn_1/intermediate/output/dense",
    "mlp_norm": "LayerNorm_1",
}


def scopes(config):
    """{our module or parameter: google-research's scope or variable}."""
    scope = "electra" if config.family == "electra" else "bert"
    table = {f"bert/embeddings/{ours}": f"{scope}/embeddings/{name}" for ours, name in EMBEDDINGS.items()}
    if config.family == "albert":
        table |= {"bert/embeddings/projection": "bert/encoder/embedding_hidden_mapping_in"}
        layers = {0: "transformer/group_0/inner_group_0", 2: "transformer/group_1/inner_group_0"}
    else:
        layers = {i: f"layer_{i}" for i in range(4)}
    for i, layer in layers.items():
        for ours, name in (ALBERT_LAYER if config.family == "albert" else LAYER).items():
            table[f"bert/encoder/layer_{i}/{ours}"] = f"{scope}/encoder/{layer}/{name}"
    if config.family != "electra":
        return table | HEAD
    return table | {
        "bert/embeddings/projection": "electra/embeddings_project",
        "rtd_head/dense": "discriminator_predictions/dense",
        "rtd_head/output": "discriminator_predictions/dense_1",
    }


def variables(config, params):
    """The parameters as google-research's variables: matrices are [in, out], but for output_weights."""
    found = {}
    for path, array in flatten(params).items():
        table, (module, _, leaf) = scopes(config), path.rpartition("/")
        if path in table:
            name = table[path]
        else:
            leaves = {"scale": "gamma", "bias": "beta"} if "norm" in module.split("/")[-1] else {}
            name = f"{table[module]}/{leaves.get(leaf, leaf)}"
        if "query" in path or "key" in path or "value" in path:
            array = array.reshape(*array.shape[:-2], -1)
        elif "attention/output/kernel" in path:
            array = array.reshape(-1, array.shape[-1])
        found[name] = array.T if name.endswith("output_weights") else array
    return found


def make(config):
    """Parameters of which no two elements are alike; an ELECTRA's discriminator."""
    rng = np.random.default_rng(0)
    without = "mlm_head" if config.family == "electra" else ""
    shapes = {path: e.our_shape for e in names.table(config) for path in e.ours if e.head != without}
    return nest({path: rng.standard_normal(shape).astype(np.float32) for path, shape in shapes.items()})


def training_slots(found):
    """What the optimizer keeps beside the variables."""
    kinds = ("adam_m", "adam_v", "lamb_m", "lamb_v", "Adam", "Adam_1")
    slots = {f"{name}/{kind}": array * 2 for name, array in found.items() for kind in kinds}
    return slots | {"global_step": np.int64(7), "beta1_power": np.float32(0.9)}


def write(folder, found, config=None, name="model.ckpt"):
    folder.mkdir(exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(folder / name),
        tensor_names=list(found),
        shape_and_slices=[""] * len(found),
        tensors=[tf.constant(array) for array in found.values()],
    )
    if config:
        (folder / f"{config.family}_config.json").write_text(json.dumps(described(config)))
    return folder


def described(config):
    """bert_config.json or albert_config.json as released."""
    raw = {
        "attention_probs_dropout_prob": config.attention_dropout_rate,
        "directionality": "bidi",
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout_rate,
        "hidden_size": config.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": config.mlp_size,
        "max_position_embeddings": config.max_positions,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "type_vocab_size": config.type_vocab_size,
        "vocab_size": config.vocab_size,
    }
    if config.family == "albert":
        raw |= {
            "embedding_size": config.embedding_size,
            "num_hidden_groups": config.groups,
            "inner_group_num": 1,
            "net_structure_type": 0,
            "gap_size": 0,
        }
    return raw


def refusal(folder):
    with pytest.raises(UserError) as caught:
        load_tf1(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_same(found, params):
    found, params = flatten(found), flatten(params)
    assert found.keys() == params.keys()
    for path, array in params.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
        assert found[path].dtype == np.float32


@pytest.mark.parametrize("config", [BERT, ALBERT, ELECTRA, ELECTRA_BASE], ids=lambda c: c.family)
def test_a_checkpoint_is_read_bit_by_bit_as_the_hugging_face_directory_is(config, tmp_path):
    params, is_electra = make(config), config.family == "electra"
    found = variables(config, params)
    generator = {
        "generator/encoder/layer_0/output/dense/bias": np.ones(5, np.float32),
        "generator_predictions/dense/kernel": np.ones((5, 6), np.float32),
        "generator_predictions/output_bias": np.ones(41, np.float32),
    }
    stored = found | (generator if is_electra else {})
    folder = write(tmp_path / "tf1", stored | training_slots(stored), None if is_electra else config)
    read, theirs, report = load_tf1(folder)
    assert read == named(config)
    assert_same(theirs, params)
    assert report.missing == (("mlm_head",) if is_electra else ())
    assert report.unexpected == (tuple(sorted(generator)) if is_electra else ())

    save_hf(tmp_path / "hf", params, config=config, tokenizer=TOKENIZER)
    hf_config, hf_params, hf_report = load_hf(tmp_path / "hf")
    assert hf_config == read
    assert_same(theirs, hf_params)
    assert hf_report.missing == report.missing


@pytest.fixture
def found():
    return variables(BERT, make(BERT))


def test_a_checkpoint_without_heads_says_so(found, tmp_path):
    encoder = {name: array for name, array in found.items() if not name.startswith("cls/")}
    folder = write(tmp_path / "tf1", encoder | {"output_weights": np.ones((3, 12), np.float32)}, BERT)
    _, params, report = load_tf1(folder)
    assert params.keys() == {"bert"}
    assert report.missing == ("mlm_head", "pair_head")
    assert report.unexpected == ("output_weights",)


def test_half_precision_is_read_as_float32(found, tmp_path):
    half = {name: array.astype(np.float16) for name, array in found.items()}
    _, params, _ = load_tf1(write(tmp_path / "tf1", half, BERT))
    expected = {path: a.astype(np.float16).astype(np.float32) for path, a in flatten(make(BERT)).items()}
    assert_same(params, nest(expected))


def test_what_is_taken_for_a_tf1_checkpoint(found, tmp_path):
    folder = write(tmp_path / "tf1", {"global_step": np.int64(1)})
    assert is_tf1(folder) and is_tf1(str(folder))
    (folder / "model.safetensors").write_bytes(b"")
    assert not is_tf1(folder)
    assert not is_tf1(tmp_path)


def changed(config, **values):
    return json.dumps(described(config) | values)


QUERY = "bert/encoder/layer_1/attention/self/query/kernel"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v: v.pop(QUERY),
            f"variable {QUERY} of shape (12, 12), which FOLDER/bert_config.json asks for, is missing",
        ),
        (
            lambda v: v.pop("cls/predictions/output_bias"),
            "cls/predictions/output_bias of shape (41,), which ",
        ),
        (
            lambda v: v.update({QUERY: np.ones((12, 8), np.float32)}),
            f"variable {QUERY} has shape (12, 8), FOLDER/bert_config.json asks for (12, 12): use files",
        ),
        (
            lambda v: v.update({"bert/encoder/layer_4/output/dense/bias": np.ones(12, np.float32)}),
            "FOLDER/bert_config.json has no place for: bert/encoder/layer_4/output/dense/bias; use files",
        ),
    ],
)
def test_variables_that_are_not_the_configs(found, tmp_path, change, message):
    change(found)
    folder = write(tmp_path / "tf1", found, BERT)
    assert message.replace("FOLDER", str(folder)) in refusal(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"num_hidden_layers": 5},
            "variable bert/encoder/layer_4/attention/self/query/kernel of shape (12, 12), which",
        ),
        ({"vocab_size": 50}, "bert/embeddings/word_embeddings has shape (41, 12), "),
        ({"hidden_size": "12"}, "bert_config.json: hidden_size='12' must be a whole number > 0"),
        ({"hidden_act": "relu"}, "bert_config.json: hidden_act='relu' must be one of gelu"),
    ],
)
def test_a_config_that_contradicts_the_weights(found, tmp_path, values, message):
    folder = write(tmp_path / "tf1", found)
    (folder / "bert_config.json").write_text(changed(BERT, **values))
    assert message in refusal(folder)


def test_an_electra_that_is_not_whole(tmp_path):
    found = variables(ELECTRA, make(ELECTRA))
    short = {name: array for name, array in found.items() if "layer_2" not in name}
    message = refusal(write(tmp_path / "gap", short))
    assert "variable electra/encoder/layer_2/" in message
    assert ", which an ELECTRA of these sizes asks for, is missing: the checkpoint is incomplete" in message
    del found["electra/embeddings/word_embeddings"]
    message = "electra/embeddings/word_embeddings must be a matrix of the checkpoint, is missing"
    assert message in refusal(write(tmp_path / "tf1", found))


def test_files_that_are_not_a_checkpoint(found, tmp_path, monkeypatch):
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: no such folder"
    assert "no NAME.index of a TF1 checkpoint in it; it holds " in refusal(tmp_path)
    folder = write(tmp_path / "tf1", found)
    assert "bert_config.json or albert_config.json must be beside the checkpoint" in refusal(folder)
    (folder / "bert_config.json").write_text("{")
    assert "bert_config.json: not JSON" in refusal(folder)
    (folder / "bert_config.json").write_text(changed(BERT))
    (folder / "albert_config.json").write_text(changed(ALBERT))
    assert "must hold one of bert_config.json and albert_config.json" in refusal(folder)
    (folder / "albert_config.json").unlink()

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow", None)
        assert "is read with TensorFlow, which is not installed: pip install" in refusal(folder)
    data = folder / "model.ckpt.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1000])
    assert re.search(r"model\.ckpt: not a complete checkpoint \(.+\): download it again", refusal(folder))
    data.unlink()
    assert "model.ckpt.index: no model.ckpt.data-00000-of-00001 beside it" in refusal(folder)
    data.write_bytes(whole)
    index = folder / "model.ckpt.index"
    index.write_bytes(index.read_bytes()[:-7])
    assert "model.ckpt: not a complete checkpoint" in refusal(folder)
    write(folder, found, name="other.ckpt")
    assert "must hold one checkpoint, holds model.ckpt.index, other.ckpt.index" in refusal(folder)
