"""An exported program: what it computes is what the model does, at any batch and length."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bert_jax.api import Model, load
from bert_jax.config.head import HeadConfig
from bert_jax.errors import UserError
from bert_jax.interop import stablehlo
from bert_jax.models import bert
from tests.models.variants import random_params, variant


def rows(batch, length, seed=0):
    """Random tokens and types; the first row has two tokens of padding."""
    rng = np.random.default_rng(seed)
    mask_BL = np.ones((batch, length), int)
    mask_BL[0, -2:] = 0
    return rng.integers(0, 50, (batch, length)), rng.integers(0, 2, (batch, length)), mask_BL


@pytest.fixture(scope="module", params=["bert", "albert", "deberta-v3"])
def exported(request, tmp_path_factory):
    """A model and the folder of its program."""
    fields = {"pooler": "none"} if request.param == "deberta-v3" else {}
    layers = 2 if request.param == "albert" else 1  # two have something to share
    config = variant(request.param, num_layers=layers, **fields)
    heads = ("mlm", "pair") if config.pooler != "none" else ("mlm", "rtd")
    shapes = jax.eval_shape(lambda: bert.init_params(config, jax.random.key(0), heads=heads))
    model = Model(config, random_params(shapes), None)
    folder = tmp_path_factory.mktemp("stablehlo") / "model"
    stablehlo.save_stablehlo(folder, model.params, config=config, tokenizer=None)
    return model, folder


def test_the_program_is_the_model_at_any_shape(exported):
    model, folder = exported
    program = stablehlo.load(folder)
    for batch, length in ((1, 20), (3, 7)):
        ours, theirs = model(*rows(batch, length)), program(*rows(batch, length))
        expected = {
            "hidden": ours.hidden_BLD, "pooled": ours.pooled_BD, "mlm_logits": ours.mlm_logits_BLV,
            "pair_logits": ours.pair_logits_BC, "rtd_logits": ours.rtd_logits_BL,
        }  # fmt: skip
        expected = {name: array for name, array in expected.items() if array is not None}
        described = json.loads((folder / "program.json").read_text())["outputs"]
        assert theirs.keys() == expected.keys() == described.keys()
        for name, array in expected.items():
            np.testing.assert_allclose(theirs[name], array, atol=1e-6, err_msg=name)
            assert theirs[name].ndim == len(described[name]["axes"])


@pytest.mark.parametrize("exported", ["bert"], indirect=True)
def test_jax_alone_runs_the_program_as_its_description_says(exported):
    model, folder = exported
    program = jax.export.deserialize((folder / "model.stablehlo").read_bytes())
    assert program.platforms == ("cpu", "cuda", "tpu")
    inputs = [np.asarray(array, np.int32) for array in rows(3, 7)]
    found = jax.jit(program.call)(model.params, *inputs)
    np.testing.assert_allclose(found["hidden"], model(*inputs).hidden_BLD, atol=1e-6)


def test_the_folder_is_one_of_ours_too_and_names_no_path_of_this_machine(exported):
    model, folder = exported
    again = load(folder)
    assert again.config == model.config
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    assert stablehlo.__file__.encode() not in (folder / "model.stablehlo").read_bytes()


@pytest.mark.parametrize(
    ("name", "head", "output", "axes"),
    [
        ("bert", HeadConfig(kind="classification", labels=("neg", "neu", "pos")), "class_logits", "BC"),
        ("roberta", HeadConfig(kind="regression", hidden="tanh"), "class_logits", "BC"),
        ("distilbert", HeadConfig(kind="tagging", labels=("O", "B", "I", "X")), "token_logits", "BLC"),
        ("electra", HeadConfig(kind="span"), "token_logits", "BLC"),
        ("albert", HeadConfig(kind="embedding", pooling="mean"), "embedding", "BD"),
    ],
)
def test_a_program_with_a_task_head(name, head, output, axes, tmp_path):
    config = variant(name, num_layers=1, head=head)
    model = Model(
        config, random_params(jax.eval_shape(lambda: bert.init_params(config, jax.random.key(0)))), None
    )
    stablehlo.save_stablehlo(tmp_path / "model", model.params, config=config, tokenizer=None)
    inputs = rows(3, 7)
    ours = model(*inputs)
    expected = {
        "class_logits": lambda: ours.class_logits_BPC[:, 0], "token_logits": lambda: ours.token_logits_BLC,
        "embedding": lambda: ours.embeddings_BPD[:, 0],
    }[output]()  # fmt: skip
    found = stablehlo.load(tmp_path / "model")(*inputs)
    np.testing.assert_allclose(found[output], expected, atol=1e-6)
    assert np.ptp(expected) > 0.01
    described = json.loads((tmp_path / "model" / "program.json").read_text())
    assert list(described["outputs"]) == ["hidden", *(["pooled"] if "pooled" in found else []), output]
    assert described["outputs"][output]["axes"] == axes
    assert described["head"] == {**dataclasses.asdict(head), "labels": list(head.labels)}
    assert described["axes"].get("C", 0) == head.outputs
    sizes = {"B": 3, "L": 7, "C": head.outputs, "D": config.hidden_size}
    assert found[output].shape == tuple(sizes[axis] for axis in axes)


@pytest.mark.parametrize("exported", ["bert"], indirect=True)
def test_a_program_without_one_says_nothing_of_it(exported):
    described = json.loads((exported[1] / "program.json").read_text())
    assert "head" not in described and "C" not in described["axes"]
    assert described["outputs"]["pair_logits"]["axes"] == "B2"


@pytest.fixture
def folder(exported, tmp_path):
    """A copy of the program's folder, for a test to break."""
    return Path(shutil.copytree(exported[1], tmp_path / "model"))


@pytest.mark.parametrize("exported", ["bert"], indirect=True)
def test_what_is_no_program(folder):
    with pytest.raises(UserError, match=r"21 tokens must be <= the program's max_length=20"):
        stablehlo.load(folder)(np.zeros((1, 21), int))
    with pytest.raises(UserError, match=r"no program.json in it"):
        stablehlo.load(folder.parent)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: tensors[name] for name in tensors if name != "mlm_head/bias"}, weights)
    with pytest.raises(UserError, match=r"its tensors are not those that model.stablehlo takes"):
        stablehlo.load(folder)
    weights.unlink()
    with pytest.raises(UserError, match=r"model.safetensors: no such file"):
        stablehlo.load(folder)
    path = folder / "model.stablehlo"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model.stablehlo: checksum \d+ must be \d+"):
        stablehlo.load(folder)
    (folder / "program.json").write_text('{"format": 1, "max_length": 20}')  # as older versions wrote it
    with pytest.raises(UserError, match=r"model.stablehlo: not a program"):
        stablehlo.load(folder)
    (folder / "program.json").write_text('{"format": 7, "max_length": 20}')
    with pytest.raises(UserError, match=r"format=7 must be 1"):
        stablehlo.load(folder)
