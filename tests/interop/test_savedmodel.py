"""A SavedModel: TensorFlow runs it without jax and computes what the model does."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from bert_jax.api import Model
from bert_jax.config import TokenizerConfig
from bert_jax.config.head import HeadConfig
from bert_jax.errors import UserError
from bert_jax.interop.savedmodel import save_savedmodel
from bert_jax.models import bert
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks
from tests.models.variants import random_params, variant

TOKENIZER = tokenizers.train(count_chunks(["a cat"]), TokenizerConfig(vocab_size=50))

# Runs every pair (folder, inputs.npz) of the arguments and writes outputs.npz beside the inputs.
_SERVE = """
import sys
sys.modules["jax"] = sys.modules["jaxlib"] = None
import numpy as np
import tensorflow as tf
for folder, inputs in zip(sys.argv[1::2], sys.argv[2::2]):
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    with np.load(inputs + "/inputs.npz") as file:
        outputs = serve(**{name: tf.constant(file[name]) for name in file})
    np.savez(inputs + "/outputs.npz", **{name: value.numpy() for name, value in outputs.items()})
    try:
        long = tf.ones((1, 21), tf.int32)
        serve(tokens=long, type_ids=long, mask=long)
    except tf.errors.InvalidArgumentError as error:
        assert "length <= 20" in str(error), error
    else:
        raise AssertionError("ran on 21 tokens")
"""


@pytest.mark.slow
def test_tensorflow_without_jax_computes_what_the_model_does(tmp_path):
    rng = np.random.default_rng(0)
    cases = []
    heads = {
        "distilbert": HeadConfig(kind="tagging", labels=("O", "B", "I")),
        "roberta": HeadConfig(kind="classification", labels=("no", "yes"), hidden="tanh"),
    }
    for name, shape in (("bert", (3, 7)), ("deberta", (1, 20)), ("distilbert", (2, 9)), ("roberta", (2, 9))):
        config = variant(name, num_layers=1, head=heads.get(name, HeadConfig()))
        shapes = jax.eval_shape(lambda config=config: bert.init_params(config, jax.random.key(0)))
        model = Model(config, random_params(shapes), None)
        save_savedmodel(tmp_path / name, model.params, config=config, tokenizer=TOKENIZER)
        beside = tokenizers.load(tmp_path / name / "assets.extra")
        assert beside.encode("a cat") == TOKENIZER.encode("a cat")
        described = tmp_path / name / "assets.extra" / "head.json"
        assert described.is_file() == (name in heads)
        if name in heads:
            assert json.loads(described.read_text())["labels"] == list(heads[name].labels)
        # Nobody may read a path of this machine in what is given away.
        assert bert.__file__.encode() not in (tmp_path / name / "saved_model.pb").read_bytes()
        inputs = {field: rng.integers(0, 2, shape, np.int32) for field in ("tokens", "type_ids")}
        inputs["tokens"] = rng.integers(0, 50, shape, np.int32)
        inputs["mask"] = np.broadcast_to(np.arange(shape[1]) < shape[1] - 2, shape).astype(np.int32)
        (tmp_path / f"{name}-io").mkdir()
        np.savez(tmp_path / f"{name}-io" / "inputs.npz", **inputs)
        cases.append((model, inputs, tmp_path / name, tmp_path / f"{name}-io"))
    places = [str(path) for _, _, folder, io in cases for path in (folder, io)]
    answer = subprocess.run(
        [sys.executable, "-c", _SERVE, *places], env=dict(os.environ), capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    for model, inputs, _, io in cases:
        ours = model(*inputs.values())
        expected = {"hidden": ours.hidden_BLD}
        if model.config.head.kind == "none":
            expected |= {"mlm_logits": ours.mlm_logits_BLV}
        elif model.config.head.kind == "tagging":
            expected |= {"token_logits": ours.token_logits_BLC}
        else:
            expected |= {"class_logits": ours.class_logits_BPC[:, 0]}
        if model.config.pooler != "none":
            expected |= {"pooled": ours.pooled_BD, "pair_logits": ours.pair_logits_BC}
        with np.load(io / "outputs.npz") as theirs:
            assert set(theirs) == set(expected)
            for name, array in expected.items():
                np.testing.assert_allclose(theirs[name], array, atol=1e-5, err_msg=name)


def test_without_tensorflow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UserError, match="needs TensorFlow, which is not installed"):
        save_savedmodel(tmp_path / "model", {}, config=variant("bert"), tokenizer=None)
    assert not (tmp_path / "model").exists()
