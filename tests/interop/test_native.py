"""Our own format: the same config and bits back, and each refusal by its message."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bert_jax.atomic import export_folder
from bert_jax.config import TokenizerConfig
from bert_jax.config.head import HeadConfig
from bert_jax.errors import UserError
from bert_jax.interop.native import is_native, left_parts, load_native, save_native
from bert_jax.models import bert
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks
from tests.models.variants import VARIANTS, random_params, variant

CONFIG = variant("bert", num_layers=1)
TOKENIZER = tokenizers.train(count_chunks(["a cat", "a dog"]), TokenizerConfig(vocab_size=50))


def drawn(config, heads=None):
    return random_params(jax.eval_shape(lambda: bert.init_params(config, jax.random.key(0), heads=heads)))


@pytest.fixture
def folder(tmp_path):
    save_native(tmp_path / "model", drawn(CONFIG), config=CONFIG, tokenizer=TOKENIZER)
    return tmp_path / "model"


def refusal(folder):
    """load_native's complaint, which must be one line."""
    with pytest.raises(UserError) as caught:
        load_native(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def edit_config(folder, change):
    path = folder / "bert_jax.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize("heads", [None, (), ("rtd",)], ids=["pretraining", "none", "rtd"])
@pytest.mark.parametrize("name", ["bert", "albert-groups", "deberta", "deberta-v3"])
def test_what_is_loaded_is_what_was_saved(name, heads, tmp_path):
    params = drawn(VARIANTS[name], heads)
    save_native(tmp_path / "model", params, config=VARIANTS[name], tokenizer=None)
    config, found = load_native(tmp_path / "model")
    assert config == VARIANTS[name]
    assert jax.tree.structure(found) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, found, params)


HEADS = {
    "bert": HeadConfig(kind="classification", labels=("neg", "pos", "neu"), dropout_rate=0.25),
    "roberta": HeadConfig(kind="multilabel", labels=("a", "b"), hidden="tanh"),
    "albert": HeadConfig(kind="regression"),
    "electra": HeadConfig(kind="tagging", labels=("O", "B-PER")),
    "distilbert": HeadConfig(kind="span"),
    "deberta": HeadConfig(kind="embedding", pooling="mean"),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_task_head_is_kept_with_its_labels(name, tmp_path):
    config = variant(name, num_layers=1, head=HEADS[name])
    params = drawn(config, ())
    assert ("task_head" in params) == (name != "deberta")
    save_native(tmp_path / "model", params, config=config, tokenizer=None)
    found_config, found = load_native(tmp_path / "model")
    assert found_config == config
    assert jax.tree.structure(found) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, found, params)


def test_a_file_from_before_task_heads(folder):
    edit_config(folder, lambda raw: (first_format(raw), raw["model"].pop("head", None)))
    assert load_native(folder)[0] == CONFIG


def test_a_head_whose_parameters_are_not_there_is_saved_as_none(tmp_path):
    config = variant("bert", num_layers=1, head=HEADS["bert"])
    params = {name: part for name, part in drawn(config, ()).items() if name != "task_head"}
    save_native(tmp_path / "model", params, config=config, tokenizer=None)
    assert load_native(tmp_path / "model")[0] == CONFIG


def test_parts_that_the_model_does_not_compute_are_named():
    config = variant("bert", num_layers=1, pooler="none")
    params = {**drawn(config), "pair_head": {}, "task_head": {}, "other": {}}
    assert left_parts(params, config) == ("pair_head", "task_head", "other")
    assert left_parts(drawn(CONFIG), CONFIG) == ()


def test_without_its_pooler_a_model_is_saved_as_one_that_has_none(tmp_path):
    params = drawn(CONFIG)
    del params["bert"]["pooler"]
    save_native(tmp_path / "model", params, config=CONFIG, tokenizer=None)
    config, found = load_native(tmp_path / "model")
    assert config == variant("bert", num_layers=1, pooler="none")
    assert found.keys() == {"bert", "mlm_head"}  # a pair head reads the pooler


def test_the_tensors_have_our_names_and_the_tokenizer_is_there(folder):
    names = load_file(folder / "model.safetensors").keys()
    assert {"bert/encoder/layer_0/attention/query/kernel", "mlm_head/bias"} <= names
    assert is_native(folder) and not is_native(folder.parent)
    assert tokenizers.load(folder).encode("a cat") == TOKENIZER.encode("a cat")


def test_a_missing_an_extra_and_a_misshapen_tensor(folder):
    edit_tensors(folder, lambda tensors: tensors.update({"bert/extra": np.zeros(3, np.float32)}))
    assert "bert_jax.json has no place for tensor bert/extra" in refusal(folder)
    edit_tensors(folder, lambda tensors: tensors.update({"mlm_head/bias": tensors.pop("bert/extra")}))
    assert "tensor mlm_head/bias has shape (3,), bert_jax.json says (50,)" in refusal(folder)
    edit_tensors(folder, lambda tensors: tensors.pop("mlm_head/bias"))
    assert "tensor mlm_head/bias of shape (50,) is missing" in refusal(folder)


def test_a_tensor_of_another_type(folder):
    edit_tensors(folder, lambda t: t.update({"mlm_head/bias": t["mlm_head/bias"].astype(np.float16)}))
    assert "tensor mlm_head/bias is float16, must be float32" in refusal(folder)


@pytest.mark.parametrize("size", [4, 100, -10], ids=["length", "header", "tensors"])
def test_a_file_cut_short(folder, size):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    assert "model.safetensors: not a complete safetensors file" in refusal(folder)


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "model.safetensors: no such file" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.update(format=3), "format=3 must be at most 2, the newest that this version reads"),
        (lambda raw: raw.pop("heads"), 'must hold {"format": 2, "heads": [...], "model": {...}}'),
        (lambda raw: raw.update(heads=["qa"]), "with heads out of mlm, pair, rtd"),
        (lambda raw: raw["model"].update(depth=2), "unknown: depth; missing: none"),
        (lambda raw: raw["model"].pop("pooler"), "unknown: none; missing: pooler"),
        (
            lambda raw: raw["model"].update(pooler="relu"),
            "model.pooler='relu' must be one of: tanh, gelu, none",
        ),
        (lambda raw: raw["model"].update(num_layers="1"), "model.num_layers='1' must be of type int"),
        (
            lambda raw: raw["model"]["relative"].update(terms="c2p"),
            "model.relative.terms='c2p' must be a list",
        ),
        (lambda raw: raw["model"].update(num_heads=0), "model.num_heads=0 must be > 0"),
        (lambda raw: raw["model"].update(num_layers=10**6), "model.num_layers=1000000 must be <= 1000"),
        (
            lambda raw: raw["model"].update(vocab_size=2**31),
            "model.vocab_size=2147483648 must be <= 2147483647",
        ),
        (lambda raw: raw["model"].update(pattern=[]), "its fields make no model"),
        (lambda raw: raw["model"].update(head=3), "model.head=3 must be an object"),
        (
            lambda raw: raw["model"]["head"].pop("labels"),
            "model.head: its fields are not those of this version",
        ),
        (
            lambda raw: raw["model"]["head"].update(kind="qa"),
            "model.head.kind='qa' must be one of: none, class",
        ),
        (lambda raw: raw["model"]["head"].update(labels=[1]), "model.head.labels=(1,) must be of type str"),
        (
            lambda raw: raw["model"]["head"].update(kind="span"),
            "tensor task_head/output/bias of shape (2,) is missing",
        ),
        (
            lambda raw: (raw["model"].update(pooler="none"), raw["model"]["head"].update(kind="regression")),
            "model.head.hidden='pooler' of a regression head needs model.pooler='tanh' or 'gelu', it is 'none'",
        ),
    ],
)
def test_a_config_that_is_not_ours(folder, change, message):
    edit_config(folder, change)
    assert message in refusal(folder)


def test_the_first_format_had_flat_options(folder):
    """Of options that came later it has the defaults, and it may be from before task heads."""
    config, params = load_native(folder)
    edit_config(folder, first_format)
    found, again = load_native(folder)
    assert found == config
    jax.tree.map(np.testing.assert_array_equal, again, params)


def first_format(raw):
    """Rewrites a bert_jax.json as the first version wrote it."""
    model = raw["model"]
    raw["format"] = 1
    norm, relative = model.pop("norm"), model.pop("relative")
    for name in (
        "rotary",
        "mlm_head",
        "head",
        "mlp",
        "biases",
        "pattern",
        "window",
        "initializer",
        "dropout_at",
    ):
        del model[name]
    model |= {"attention": model.pop("positions"), "layer_norm_eps": norm["eps"]}
    model |= {"key_bias": relative.pop("key_bias"), "convolution": relative.pop("convolution")}
    model["enhanced_mask_decoder"] = relative.pop("mask_decoder")
    model |= {f"relative_{name}": value for name, value in relative.items()}


def test_a_config_that_is_no_json(folder):
    (folder / "bert_jax.json").write_text("{")
    assert "bert_jax.json: not JSON" in refusal(folder)


def stop_half_way(folder):
    with export_folder(folder) as partial:
        (partial / "first").write_text("half of it")
        raise ZeroDivisionError


def test_a_folder_is_whole_or_absent(folder, tmp_path):
    with pytest.raises(UserError, match="model: is not empty"):
        save_native(folder, drawn(CONFIG), config=CONFIG, tokenizer=None)
    with pytest.raises(UserError, match=r"bert_jax.json: is a file"), export_folder(folder / "bert_jax.json"):
        pytest.fail("entered")
    with pytest.raises(ZeroDivisionError):
        stop_half_way(tmp_path / "half")
    with (
        pytest.raises(UserError, match=r"full: cannot be written \(No space left"),
        export_folder(tmp_path / "full"),
    ):
        raise OSError(28, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
