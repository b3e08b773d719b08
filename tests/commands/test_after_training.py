"""What is done with a trained run: evaluate, predict, export, load."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import bert_jax
from bert_jax.commands import evaluate, export, predict
from bert_jax.errors import UserError
from bert_jax.prediction.inputs import Row
from bert_jax.training.metrics import read_metrics

TEXT = "The red [MASK] sees the old [MASK]."


def test_evaluate_agrees_with_the_run_and_prints_json(straight, prepared, capsys):
    values = evaluate.run(straight)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed == values
    assert values["step"] == 12
    # The run looked at two batches of the split, which hold all of its rows or fewer.
    last = [line for line in read_metrics(straight / "metrics.jsonl") if line["split"] == "eval"][-1]
    assert values["mlm_loss"] == pytest.approx(last["mlm_loss"], abs=0.3)
    assert 0 < values["pair_accuracy_standard_error"] < 0.5


def test_evaluate_of_an_earlier_checkpoint(straight):
    assert evaluate.run(straight, checkpoint="8")["step"] == 8
    assert evaluate.run(straight, checkpoint="8") != evaluate.run(straight, checkpoint="last")


def test_standard_error():
    assert evaluate.standard_error(0.5, 100) == 0.05


def test_predict_prints_candidates_for_each_mask(straight, capsys):
    predict.run(straight, "fill-mask", rows=[Row(TEXT)], top_k=2, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["text"] == TEXT
    assert [len(mask) for mask in found["masks"]] == [2, 2]
    predict.run(straight, "fill-mask", rows=[Row(TEXT)], top_k=2)
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "top_k", "message"),
    [
        ("no blank here", 1, r"nothing to fill: 'no blank here' has no \[MASK\]"),
        (TEXT, 0, r"top_k=0 must be in 1..128"),
        ("[MASK] " * 600, 1, r"the text has 602 tokens, the model takes 512"),
    ],
)
def test_what_cannot_be_filled(text, top_k, message, straight):
    with pytest.raises(UserError, match=message):
        bert_jax.load(straight).fill_mask(text, top_k=top_k)


def test_an_export_is_the_same_model(straight, tmp_path):
    export.run(straight, tmp_path / "hf")
    trained, exported = bert_jax.load(straight), bert_jax.load(tmp_path / "hf")
    tokens_BL = np.array([trained.tokenizer.encode(TEXT, special=True)])
    ours, theirs = trained(tokens_BL), exported(tokens_BL)
    np.testing.assert_array_equal(ours.hidden_BLD, theirs.hidden_BLD)
    np.testing.assert_array_equal(ours.mlm_logits_BLV, theirs.mlm_logits_BLV)
    np.testing.assert_array_equal(ours.pair_logits_BC, theirs.pair_logits_BC)
    assert trained.fill_mask(TEXT) == exported.fill_mask(TEXT)


def test_an_exported_program_is_of_the_named_checkpoint_and_describes_itself(straight, tmp_path):
    export.run(straight, tmp_path / "out", form="stablehlo", checkpoint="8")
    described = json.loads((tmp_path / "out" / "program.json").read_text())
    assert list(described["inputs"]) == ["tokens", "type_ids", "mask"]
    assert list(described["outputs"]) == ["hidden", "pooled", "mlm_logits", "pair_logits"]
    bias = bert_jax.load(straight, checkpoint="8").params["mlm_head"]["bias"]
    np.testing.assert_array_equal(bert_jax.load(tmp_path / "out").params["mlm_head"]["bias"], bias)


def test_a_run_of_one_encoder_has_no_parts(straight, tmp_path):
    with pytest.raises(UserError, match=r"has no generator: the run has objective.name=mlm, not rtd"):
        export.run(straight, tmp_path / "out", part="generator")


def test_a_run_with_cudnn_is_read_where_there_is_none(straight, tmp_path):
    workdir = Path(shutil.copytree(straight, tmp_path / "run"))
    raw = json.loads((workdir / "config.json").read_text())
    fused = {"attention_backend": "cudnn", "dtype": "bfloat16", "attention_dropout_rate": 0.0}
    raw["config"]["model"] |= fused
    (workdir / "config.json").write_text(json.dumps(raw))
    model = bert_jax.load(workdir)
    assert model.config.attention_backend == "cudnn"
    assert len(model.fill_mask(TEXT)) == 2
    export.run(workdir, tmp_path / "out", form="stablehlo")
    assert bert_jax.load(tmp_path / "out").config == model.config


def test_padding_changes_nothing(straight):
    model = bert_jax.load(straight)
    tokens = model.tokenizer.encode("the red cat", special=True)
    padded = np.array([tokens + [0] * 5])
    mask_BL = np.arange(padded.shape[1])[None] < len(tokens)
    short, long = model(np.array([tokens])), model(padded, mask_BL=mask_BL)
    np.testing.assert_allclose(short.hidden_BLD, long.hidden_BLD[:, : len(tokens)], atol=1e-5)
    vectors = model.embed(["the red cat", "the red cat sees the old dog and the blue house"])
    np.testing.assert_allclose(vectors[0], np.asarray(short.hidden_BLD)[0].mean(0), atol=1e-5)


def test_load_of_nothing(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        bert_jax.load(tmp_path / "absent")
