"""What load_hf takes, and each refusal by its message: small files in tmp_path, no torch."""

import dataclasses
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
from bert_jax.interop.families import FAMILIES
from bert_jax.interop.load import load_hf, load_tokenizer
from bert_jax.interop.save import save_hf
from bert_jax.tasks.load import load_model
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks
from tests.interop.small import CONFIGS, TOKENIZER, params_of

CONFIG = CONFIGS["bert"]


@pytest.fixture(scope="module")
def params():
    return params_of(CONFIG)


@pytest.fixture
def folder(params, tmp_path):
    return saved(tmp_path, "bert")


WITH_BERTS_LAYERS = [family for family in FAMILIES if family not in ("modernbert", "neobert")]
"""Whose two layers and plain MLPs these tests know; the others are read in test_modern and test_save."""


def saved(tmp_path, family):
    """The folder of an export of the family's tiny model."""
    folder = tmp_path / "model"
    save_hf(folder, params_of(CONFIGS[family]), config=CONFIGS[family], tokenizer=TOKENIZER)
    return folder


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
    with pytest.raises(
        UserError, match="model: the tokenizer has 42 entries, the model vocab_size=41: "
    ) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()
    assert load_model(folder).tokenizer is None
    with pytest.raises(UserError, match="no vocabulary at"):
        load_tokenizer(folder)


def test_a_vocabulary_with_capitals_is_cased_where_nothing_says_so(tmp_path):
    """google-research's folders hold vocab.txt alone; transformers would lower-case both."""
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "berlin", "a"]
    (tmp_path / "vocab.txt").write_text("\n".join(entries) + "\n")
    assert load_tokenizer(tmp_path).encode("Berlin") == [5]
    (tmp_path / "vocab.txt").write_text("\n".join([*entries, "Berlin"]) + "\n")
    assert load_tokenizer(tmp_path).encode("Berlin") == [7]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert load_tokenizer(tmp_path).encode("Berlin") == [5]


def test_a_distilbert_keeps_the_position_table_however_it_was_first_filled(tmp_path):
    """sinusoidal_pos_embds tells the first filling alone: transformers reads the file's table."""
    folder = saved(tmp_path, "distilbert")
    edit_config(folder, sinusoidal_pos_embds=True)
    config, params, _ = load_hf(folder)
    assert config == CONFIGS["distilbert"]
    assert_params(params, params_of(config))
    table = "distilbert.embeddings.position_embeddings.weight"
    edit_tensors(folder, lambda tensors: {name: array for name, array in tensors.items() if name != table})
    assert "position_embeddings.weight of shape (9, 12) is missing" in refusal(folder)


# ---------------------------------------------------------------------------------------------
# config.json
# ---------------------------------------------------------------------------------------------


def test_no_folder_and_no_config(folder):
    assert refusal("google/bert") == "google/bert: no such folder"
    (folder / "config.json").unlink()
    assert "no config.json in it, so not a Hugging Face model directory" in refusal(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"model_type": "gpt2"},
            "config.json: model_type='gpt2' must be one of bert, roberta, albert, electra, distilbert, deberta,"
            " deberta-v2",
        ),
        ({"model_type": ..., "architectures": ...}, "config.json: has no model_type, and architectures=None does"),
        ({"model_type": ["bert"]}, "config.json: model_type=['bert'] must be one of bert"),
        ({"position_embedding_type": "relative_key"}, "type='relative_key' must be 'absolute'"),
        ({"is_decoder": True}, "is_decoder=True must be False"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings=False must be True"),
        ({"hidden_act": "relu"}, "hidden_act='relu' must be one of gelu, gelu_new, gelu_pytorch_tanh"),
        ({"hidden_act": ["gelu"]}, "hidden_act=['gelu'] must be one of"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers='2' must be a whole number > 0"),
        ({"num_hidden_layers": 10**30}, f"num_hidden_layers={10**30} must be a whole number <= 1000"),
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


@pytest.mark.parametrize(
    ("family", "values", "message"),
    [
        ("roberta", {"hidden_act": "gelu_new"}, "hidden_act='gelu_new' must be 'gelu'"),
        ("roberta", {"pad_token_id": None}, "pad_token_id=None must be a whole number >= 0"),
        ("roberta", {"max_position_embeddings": 1}, "max_position_embeddings=1 must be > pad_token_id + 1 = 1"),
        ("albert", {"inner_group_num": 2}, "inner_group_num=2 must be 1"),
        ("albert", {"num_hidden_layers": 3, "num_hidden_groups": 2}, "must be a divisor of num_hidden_layers=3"),
        ("albert", {"embedding_size": 6}, "word_embeddings.weight has shape (41, 8), config.json says (41, 6)"),
        ("albert", {"num_hidden_groups": 2}, "albert_layer_groups.1.albert_layers.0.attention.query.weight"),
        ("electra", {"embedding_size": 12}, "has shape (41, 8), config.json says (41, 12)"),
        ("electra", {"hidden_act": "relu"}, "hidden_act='relu' must be 'gelu'"),
        ("distilbert", {"n_heads": 5}, "dim=12 must be a multiple of n_heads=5"),
        ("distilbert", {"hidden_dim": 24}, "ffn.lin1.weight has shape (20, 12), config.json says (24, 12)"),
        ("deberta", {"relative_attention": False}, "relative_attention=False must be True"),
        ("deberta", {"position_biased_input": True}, "position_biased_input=True must be False"),
        ("deberta", {"talking_head": True}, "talking_head=True must be False"),
        ("deberta", {"pos_att_type": "c2p|p2p"}, "pos_att_type='c2p|p2p' must be c2p, p2c or both"),
        ("deberta", {"pos_att_type": 3}, "pos_att_type=3 must be c2p, p2c or both"),
        ("deberta", {"max_position_embeddings": 2**31}, "max_position_embeddings=2147483648 must be a whole"),
        ("deberta", {"pos_att_type": []}, "pos_att_type=[] must be c2p, p2c or both"),
        ("deberta", {"pos_att_type": ["c2p"]}, "no place for: deberta.encoder.layer.0.attention.self.pos_q_proj"),
        ("deberta", {"embedding_size": 8}, "embedding_size=8 must be hidden_size=12"),
        ("deberta", {"pooler_hidden_act": "relu"}, "pooler_hidden_act='relu' must be one of gelu, tanh"),
        ("deberta", {"max_relative_positions": 4}, "rel_embeddings.weight has shape (10, 12)"),
        ("deberta_v2", {"conv_act": "tanh"}, "conv_act='tanh' must be 'gelu'"),
        ("deberta_v2", {"conv_groups": 2}, "conv_groups=2 must be 1"),
        ("deberta_v2", {"conv_kernel_size": 4}, "conv_kernel_size=4 must be odd"),
        ("deberta_v2", {"attention_head_size": 6}, "attention_head_size=6 must be hidden_size / num_attention"),
        ("deberta_v2", {"share_att_key": False}, "attention.self.pos_key_proj.weight of shape (12, 12) is missing"),
        ("deberta_v2", {"norm_rel_ebd": "batch_norm"}, "norm_rel_ebd='batch_norm' must be one of layer_norm, none"),
        ("deberta_v2", {"position_buckets": 3}, "position_buckets=3 must be even"),
    ],
)  # fmt: skip
def test_a_config_that_is_not_this_familys(tmp_path, family, values, message):
    folder = saved(tmp_path, family)
    edit_config(folder, **values)
    assert message in refusal(folder)


@pytest.mark.parametrize("family", WITH_BERTS_LAYERS)
def test_a_config_that_contradicts_its_weights(tmp_path, family):
    folder = saved(tmp_path, family)
    keys = FAMILIES[family].keys
    layers, vocabulary = keys["num_layers"], keys["vocab_size"]
    edit_config(folder, **{layers: 4})
    if family != "albert":  # whose layers all have the parameters of the first
        assert "is missing: the checkpoint is incomplete, or config.json is another model's" in refusal(
            folder
        )
        edit_config(folder, **{layers: 1})
        assert "inside the encoder that config.json (1 layers) has no place for" in refusal(folder)
    edit_config(folder, **{layers: 2, vocabulary: 43})
    width = CONFIGS[family].embedding_width
    assert f"word_embeddings.weight has shape (41, {width}), config.json says (43, {width})" in refusal(
        folder
    )


def test_a_config_that_cannot_be_read(folder):
    (folder / "config.json").write_text('{"model_type": ')
    assert "config.json: not JSON (" in refusal(folder)
    (folder / "config.json").write_text("[]")
    assert "config.json: holds a list, must hold an object" in refusal(folder)


# ---------------------------------------------------------------------------------------------
# Weights
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_weight_that_is_no_number(folder, value):
    name = "bert.encoder.layer.1.output.dense.bias"
    edit_tensors(folder, lambda tensors: tensors[name].__setitem__(3, value))
    assert f"tensor {name} has 1 values that are NaN or infinite, must have none" in refusal(folder)


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


@pytest.mark.parametrize("family", WITH_BERTS_LAYERS)
def test_a_tensor_too_few_too_many_or_of_another_shape(tmp_path, family):
    """Of the encoder, under its own name; the prefix is there or is not."""
    folder = saved(tmp_path, family)
    whole = load_file(folder / "model.safetensors")
    entry = next(e for e in names.table(CONFIGS[family]) if e.ours[0].endswith("layer_0/mlp_in/kernel"))
    name, prefix = entry.theirs, f"{FAMILIES[family].prefix}."
    edit_tensors(folder, lambda t: {n: a for n, a in t.items() if n != name})
    assert f"tensor {name} of shape (20, 12) is missing" in refusal(folder)
    edit_tensors(folder, lambda _: whole | {name: whole[name].T})
    assert f"tensor {name} has shape (12, 20), config.json says (20, 12)" in refusal(folder)
    bare = name.replace("weight", "scale").removeprefix(prefix)
    edit_tensors(folder, lambda _: whole | {bare: whole[name]})
    assert f"tensors inside the encoder that config.json (2 layers) has no place for: {bare}" in refusal(
        folder
    )
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:99])
    assert "model.safetensors: not a complete safetensors file (" in refusal(folder)


@pytest.mark.parametrize("family", WITH_BERTS_LAYERS)
def test_what_older_files_of_a_family_repeat_or_say_otherwise(tmp_path, family):
    """Names without prefix, gamma and beta, position_ids, tied tensors again."""
    folder = saved(tmp_path, family)
    known, prefix = FAMILIES[family], f"{FAMILIES[family].prefix}."

    def age(tensors):
        old = {}
        for name, array in tensors.items():
            name = name.removeprefix(prefix).replace("LayerNorm.weight", "LayerNorm.gamma")
            old[name.replace("LayerNorm.bias", "LayerNorm.beta")] = array
        old["embeddings.position_ids"] = np.arange(9)[None]
        for second, first in known.tied.items():
            if first in tensors:
                old[second] = tensors[first]
        return old

    edit_tensors(folder, age)
    config, found, report = load_hf(folder)
    assert (config, report.unexpected) == (CONFIGS[family], ())
    assert_params(found, params_of(CONFIGS[family]))
    second = next(iter(known.tied))
    edit_tensors(folder, lambda t: t.update({second: np.zeros((41, 12), np.float32)}))
    assert f"{second} (41, 12) must equal embeddings.word_embeddings.weight" in refusal(folder)


def test_poolers_and_decoders_are_what_the_files_have(tmp_path):
    """A RoBERTa or DeBERTa without is a model that has none, a BERT without is one that lost it."""
    for family, stored, fields in (
        ("roberta", "roberta.pooler.dense", {"pooler": "tanh"}),
        ("deberta", "pooler.dense", {"pooler": "gelu"}),
    ):
        folder = saved(tmp_path / family, family)
        config, _, report = load_hf(folder)
        assert (config.pooler, report.missing) == ("none", ())
        pooler = {
            f"{stored}.weight": np.ones((12, 12), np.float32),
            f"{stored}.bias": np.ones(12, np.float32),
        }
        edit_tensors(folder, lambda t, pooler=pooler: t.update(pooler))
        config, found, report = load_hf(folder)
        assert config == dataclasses.replace(CONFIGS[family], **fields)
        assert found["bert"]["pooler"]["dense"]["kernel"].shape == (12, 12)
        assert (report.missing, report.unexpected) == ((), ())
    folder = saved(tmp_path, "deberta")
    edit_tensors(folder, lambda t: t.pop("deberta.embeddings.position_embeddings.weight"))
    assert not load_hf(folder)[0].relative.mask_decoder


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
