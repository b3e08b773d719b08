"""What load_hf takes, and each refusal by its message: small files in tmp_path, no torch."""

import json
import os

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bert_jax.config import TokenizerConfig
from bert_jax.errors import UserError
from bert_jax.interop import names
from bert_jax.interop.load import load_hf, load_tokenizer
from bert_jax.interop.save import save_hf
from bert_jax.models import bert
from bert_jax.models.presets import ModelConfig
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks

CONFIG = ModelConfig(
    vocab_size=41, hidden_size=12, num_layers=2, num_heads=3, mlp_size=20, max_positions=9, type_vocab_size=2
)
TOKENIZER = tokenizers.train(count_chunks(["a cat", "a dog"]), TokenizerConfig(vocab_size=41))


@pytest.fixture(scope="module")
def params():
    """Every element different, so that no two parameters or axes can be confused."""
    shapes = jax.eval_shape(lambda key: bert.init_params(CONFIG, key), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), shapes)


@pytest.fixture
def folder(params, tmp_path):
    save_hf(tmp_path / "model", params, config=CONFIG, tokenizer=TOKENIZER)
    return tmp_path / "model"


def edit_config(folder, **values):
    path = folder / "config.json"
    raw = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))


def edit_tensors(folder, change):
    """Rewrites model.safetensors: `change` edits the dictionary of tensors, or returns another."""
    tensors = load_file(folder / "model.safetensors")
    changed = change(tensors)
    tensors = changed if isinstance(changed, dict) else tensors
    save_file(
        {name: np.ascontiguousarray(array) for name, array in tensors.items()}, folder / "model.safetensors"
    )


def refusal(folder):
    """load_hf's complaint, which must be one line and say what to do."""
    with pytest.raises(UserError) as caught:
        load_hf(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_params(found, params):
    assert jax.tree.structure(found) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, found, params)


# ---------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 3])
def test_the_table_names_every_parameter_of_the_model_once(layers):
    config = ModelConfig(
        vocab_size=41, hidden_size=12, num_layers=layers, num_heads=2, mlp_size=20, max_positions=9
    )
    shapes = jax.eval_shape(lambda key: bert.init_params(config, key), jax.random.key(0))
    ours = {
        "/".join(part.key for part in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
    }
    table = names.table(config)
    assert {entry.ours: entry.our_shape for entry in table} == ours
    assert len({entry.theirs for entry in table}) == len(table) == len(ours)


def test_a_kernel_by_hand(params):
    """torch: y = x W^T with heads side by side in the rows of W; ours: einsum over D, heads an axis."""
    tensors = names.to_hf(params, CONFIG)
    kernel_DHK = params["bert"]["encoder"]["layer_1"]["attention"]["key"]["kernel"]
    weight = tensors["bert.encoder.layer.1.attention.self.key.weight"]
    assert weight[2 * 4 + 3, 7] == kernel_DHK[7, 2, 3]
    kernel_HKD = params["bert"]["encoder"]["layer_1"]["attention"]["output"]["kernel"]
    weight = tensors["bert.encoder.layer.1.attention.output.dense.weight"]
    assert weight[7, 2 * 4 + 3] == kernel_HKD[2, 3, 7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("mlm_head"), "parameter mlm_head/dense/kernel of shape (12, 12) is missing"),
        (lambda p: p.update(extra={"bias": np.ones(1)}), "has no place for: extra/bias; the config says 2"),
        (
            lambda p: p.update(pair_head={"dense": {"kernel": np.ones((12, 3))}}),
            "has shape (12, 3), the config",
        ),
    ],
)
def test_params_that_are_not_the_configs_are_not_exported(params, tmp_path, change, message):
    params = dict(params)
    change(params)
    with pytest.raises(UserError) as caught:
        save_hf(tmp_path / "model", params, config=CONFIG, tokenizer=TOKENIZER)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------
# The folder
# ---------------------------------------------------------------------------------------------


def test_an_export_is_whole_and_loads_bit_identical(folder, params):
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "tokenizer_config.json",
        "special_tokens_map.json",
    }  # fmt: skip
    assert [path.name for path in folder.parent.iterdir()] == ["model"]  # no half-written folder stays
    config, found, report = load_hf(str(folder))
    assert config == CONFIG
    assert_params(found, params)
    assert (report.missing, report.unexpected) == ((), ())
    text = "a dog"
    assert load_tokenizer(folder).encode(text) == TOKENIZER.encode(text)


def test_an_export_into_an_empty_folder_is_fine_and_into_another_is_not(params, tmp_path):
    def save():
        save_hf(tmp_path / "out", params, config=CONFIG, tokenizer=TOKENIZER)

    (tmp_path / "out").mkdir()
    save()
    before = (tmp_path / "out" / "config.json").stat().st_mtime_ns
    with pytest.raises(UserError, match="out: is not empty; an export needs a new or an empty folder"):
        save()
    assert (tmp_path / "out" / "config.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="is a file; an export needs a new or an empty folder"):
        save_hf(tmp_path / "out" / "config.json", params, config=CONFIG, tokenizer=TOKENIZER)


def test_a_failed_export_leaves_nothing(params, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(UserError, match=r"out: cannot be written \(No space left on device\)"):
        save_hf(tmp_path / "out", params, config=CONFIG, tokenizer=TOKENIZER)
    assert list(tmp_path.iterdir()) == []


def test_a_larger_vocabulary_than_the_model_has(params, folder, tmp_path):
    larger = tokenizers.train(count_chunks(["a cat", "a dog"]), TokenizerConfig(vocab_size=42))
    with pytest.raises(UserError, match="tokenizer has 42 entries, the model vocab_size=41"):
        save_hf(tmp_path / "other", params, config=CONFIG, tokenizer=larger)
    larger.save(folder)
    assert "tokenizer.json: 42 entries, config.json says vocab_size=41" in refusal(folder)
    (folder / "tokenizer.json").unlink()
    assert "vocab.txt: 42 entries, config.json says vocab_size=41" in refusal(folder)
    (folder / "vocab.txt").unlink()
    load_hf(folder)
    with pytest.raises(UserError, match="no vocabulary at"):
        load_tokenizer(folder)
    (folder / "tokenizer.json").write_text("{}")
    assert "tokenizer.json: no vocabulary in it (KeyError('model'))" in refusal(folder)


def test_a_tokenizer_that_vocab_txt_alone_cannot_give(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "strip_accents": false}')
    with pytest.raises(UserError, match=r"strip_accents=False needs a tokenizer.json, which is not there"):
        load_tokenizer(folder)


# ---------------------------------------------------------------------------------------------
# config.json
# ---------------------------------------------------------------------------------------------


def test_no_folder_and_no_config(folder):
    assert "no such folder; a model of the Hugging Face hub must be downloaded" in refusal("google/bert")
    (folder / "config.json").unlink()
    assert "no config.json in it, so not a Hugging Face model directory" in refusal(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "roberta"}, "config.json: model_type='roberta' must be 'bert'"),
        ({"model_type": ...}, "config.json: model_type=None must be 'bert'"),
        ({"position_embedding_type": "relative_key"}, "type='relative_key' must be 'absolute'"),
        ({"is_decoder": True}, "is_decoder=True must be False"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings=False must be True"),
        ({"hidden_act": "relu"}, "hidden_act='relu' must be one of gelu, gelu_new, gelu_pytorch_tanh"),
        ({"hidden_act": ["gelu"]}, "hidden_act=['gelu'] must be one of"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers='2' must be a whole number > 0"),
        ({"type_vocab_size": 0}, "type_vocab_size=0 must be a whole number > 0"),
        ({"layer_norm_eps": None}, "layer_norm_eps=None must be a number > 0"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps=nan must be a number > 0"),
        ({"hidden_dropout_prob": 1}, "hidden_dropout_prob=1 must be a number in [0, 1)"),
        ({"num_attention_heads": 5}, "hidden_size=12 must be a multiple of num_attention_heads=5"),
        ({"vocab_size": 43}, "weight has shape (41, 12), config.json says (43, 12) (vocab"),
        ({"intermediate_size": 24}, "dense.weight has shape (20, 12), config.json says (24, 12)"),
        ({"num_hidden_layers": 3}, "layer.2.attention.self.query.weight of shape (12, 12) is missing"),
        ({"num_hidden_layers": 1}, "encoder that config.json (1 layers) has no place for: bert.enc"),
    ],
)  # fmt: skip
def test_a_config_that_is_not_this_model(folder, values, message):
    edit_config(folder, **values)
    assert message in refusal(folder)


def test_a_config_that_cannot_be_read(folder):
    (folder / "config.json").write_text('{"model_type": ')
    assert "config.json: not JSON (" in refusal(folder)
    (folder / "config.json").write_text("[]")
    assert "config.json: must hold one JSON object, holds a list" in refusal(folder)


# ---------------------------------------------------------------------------------------------
# Weights
# ---------------------------------------------------------------------------------------------


def test_older_names_and_what_older_files_repeat(folder, params):
    """BertModel's names without prefix, gamma and beta, position_ids, the tied projection stored again."""

    def age(tensors):
        old = {}
        for name, array in tensors.items():
            name = name.removeprefix("bert.")
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            )
            old[name] = array
        old["embeddings.position_ids"] = np.arange(9)[None]
        old["cls.predictions.decoder.weight"] = old["embeddings.word_embeddings.weight"]
        old["cls.predictions.decoder.bias"] = old.pop("cls.predictions.bias")
        return old

    edit_tensors(folder, age)
    _, found, report = load_hf(folder)
    assert_params(found, params)
    assert (report.missing, report.unexpected) == ((), ())


def test_heads_that_are_not_there_are_reported_and_absent(folder, params):
    edit_tensors(folder, lambda t: {n: a for n, a in t.items() if not n.startswith(("cls.", "bert.pooler"))})
    _, found, report = load_hf(folder)
    assert report.missing == ("bert/pooler", "mlm_head", "pair_head")
    assert_params(found, {"bert": {name: params["bert"][name] for name in ("embeddings", "encoder")}})


def test_other_heads_are_listed_and_left_aside(folder, params):
    edit_tensors(folder, lambda t: t.update({"classifier.weight": np.ones((3, 12), np.float32)}))
    _, found, report = load_hf(folder)
    assert report.unexpected == ("classifier.weight",)
    assert_params(found, params)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_become_float32(folder, params, dtype):
    edit_tensors(folder, lambda tensors: {name: array.astype(dtype) for name, array in tensors.items()})
    assert_params(load_hf(folder)[1], jax.tree.map(lambda a: a.astype(dtype).astype(np.float32), params))


ZEROS = np.zeros((41, 12), np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("bert.encoder.layer.1.output.dense.weight"),
            "tensor bert.encoder.layer.1.output.dense.weight of shape (12, 20) is missing",
        ),
        (lambda t: t.pop("cls.predictions.bias"), "tensor cls.predictions.bias of shape (41,) is missing"),
        (
            lambda t: t.update({"bert.pooler.dense.weight": ZEROS}),
            "tensor bert.pooler.dense.weight has shape (41, 12), config.json says (12, 12)",
        ),
        (
            lambda t: t.update({"bert.encoder.layer.0.attention.self.distance_embedding.weight": ZEROS}),
            "no place for: bert.encoder.layer.0.attention.self.distance_embedding.weight",
        ),
        (
            lambda t: t.update({"cls.predictions.decoder.weight": ZEROS}),
            "decoder.weight (41, 12) must equal bert.embeddings.word_embeddings.weight (41, 12)",
        ),
        (
            lambda t: t.update({"bert.embeddings.LayerNorm.gamma": ZEROS}),
            "are the same parameter, bert.embeddings.LayerNorm.weight: remove one of them",
        ),
        (
            lambda t: t.update({"bert.pooler.dense.bias": np.zeros(12, np.int8)}),
            "tensor bert.pooler.dense.bias is stored as I8, must be one of F64, F32, F16, BF16",
        ),
    ],
)
def test_tensors_that_are_not_this_model(folder, change, message):
    edit_tensors(folder, change)
    assert message in refusal(folder)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_file_cut_short(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "model.safetensors: not a complete safetensors file (" in refusal(folder)


def test_no_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(folder)
    assert "only pytorch_model.bin here, a pickle, which can run code when read" in message
    assert "convert it: python -c" in message and "weights_only=True" in message
    (folder / "pytorch_model.bin").unlink()
    assert "no model.safetensors and no model.safetensors.index.json in it; it holds config.json" in refusal(
        folder
    )


def test_shards(folder, params):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards = {f"model-0000{i}-of-00003.safetensors": list(tensors)[i::3] for i in range(3)}
    for file, members in shards.items():
        save_file({name: tensors[name] for name in members}, folder / file)
    index = folder / "model.safetensors.index.json"
    weight_map = {name: file for file, members in shards.items() for name in members}
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert_params(load_hf(folder)[1], params)

    last = folder / "model-00002-of-00003.safetensors"
    last.rename(folder / "elsewhere")
    assert "index.json: names model-00002-of-00003.safetensors, which is not beside it" in refusal(folder)
    (folder / "elsewhere").rename(last)
    last.write_bytes(last.read_bytes()[:-1])
    assert "model-00002-of-00003.safetensors: not a complete safetensors file" in refusal(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    assert "shard '../model.safetensors' must be a file name, without folders" in refusal(folder)
    index.write_text("{}")
    assert "index.json: no weight_map in it" in refusal(folder)
