"""bert-jax export from any model directory, in each format."""

import numpy as np
import pytest

import bert_jax
from bert_jax.__main__ import main
from bert_jax.commands import export, pretrain
from bert_jax.interop import stablehlo
from bert_jax.interop.native import save_native
from bert_jax.interop.save import save_hf
from tests.commands.test_pretrain import changed
from tests.interop.small import CONFIGS, TOKENIZER, params_of


@pytest.fixture(scope="module")
def electra(tmp_path_factory):
    """A Hugging Face directory of a model with one head, and without pooler."""
    folder = tmp_path_factory.mktemp("model") / "electra"
    config = CONFIGS["electra"]
    save_hf(folder, params_of(config), config=config, tokenizer=TOKENIZER)
    return folder


def call(*words):
    return main(["export", *map(str, words)])


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("hf", "transformers.ElectraForPreTraining.from_pretrained('{out}') opens it"),
        ("safetensors", "bert_jax.load('{out}') opens it"),
        ("stablehlo", "bert_jax.interop.stablehlo.load('{out}') opens the program"),
    ],
)
def test_a_converted_model_is_the_same_model(electra, tmp_path, capsys, form, said):
    out = tmp_path / "out"
    assert call("--model", electra, "--format", form, "--out", out) == 0
    assert capsys.readouterr().out.startswith(f"wrote {out}: {said.format(out=out)}")
    source, found = bert_jax.load(electra), bert_jax.load(out)
    assert found.config == source.config
    assert found.tokenizer.encode("a cat", special=True) == source.tokenizer.encode("a cat", special=True)
    tokens_BL = np.array([[2, 7, 8, 3]])
    expected = source(tokens_BL)
    np.testing.assert_array_equal(found(tokens_BL).rtd_logits_BL, expected.rtd_logits_BL)
    if form == "stablehlo":
        run = stablehlo.load(out)(tokens_BL)
        assert run.keys() == {"hidden", "rtd_logits"}
        np.testing.assert_allclose(run["rtd_logits"], expected.rtd_logits_BL, atol=1e-6)


def test_what_a_class_has_no_place_for_is_said(tmp_path, capsys):
    config = CONFIGS["deberta"]
    save_native(tmp_path / "ours", params_of(config), config=config, tokenizer=TOKENIZER)
    export.run(tmp_path / "ours", tmp_path / "hf")
    assert "transformers passes over it: bert/embeddings/position" in capsys.readouterr().out


def test_a_smaller_model_has_the_layers_that_were_named(electra, tmp_path):
    assert call("--model", electra, "--format", "hf", "--out", tmp_path / "out", "--layers", "1") == 0
    whole, cut = bert_jax.load(electra), bert_jax.load(tmp_path / "out")
    assert cut.config.num_layers == 1 and cut.config.hidden_size == whole.config.hidden_size
    ours, theirs = cut.params["bert"]["encoder"]["layer_0"], whole.params["bert"]["encoder"]["layer_1"]
    np.testing.assert_array_equal(ours["mlp_in"]["kernel"], theirs["mlp_in"]["kernel"])


def test_faults_are_one_line(electra, tmp_path, capsys):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    bare = tmp_path / "bare"  # a model without tokenizer
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((electra / name).read_bytes())
    (tmp_path / "nothing").mkdir()
    out = ("--out", tmp_path / "out")
    for words, status, message in [
        (("--model", electra, "--format", "hf", "--out", tmp_path / "taken"), 1, "taken: is not empty"),
        (
            ("--model", electra, "--format", "savedmodel", "--out", tmp_path / "taken"),
            1,
            "taken: is not empty",
        ),
        (("--model", electra, "--format", "hf", *out, "--part", "generator"), 1, "electra: has no generator"),
        (
            ("--model", electra, "--format", "hf", *out, "--layers", "0,7"),
            1,
            "--layers=0,7 must be < 2, the layers of the model: 7 is not",
        ),
        (("--model", electra, "--format", "hf", *out, "--layers", "one"), 2, "must be whole numbers"),
        (("--model", bare, "--format", "hf", *out), 1, "--format hf needs the model's tokenizer"),
        (("--model", tmp_path / "nothing", "--format", "hf", *out), 1, "no model that can be read here"),
        (
            ("--workdir", electra, "--format", "hf", *out),
            1,
            "electra is not the folder of a run; another model",
        ),
        (("--model", electra, "--checkpoint", "best", "--format", "hf", *out), 2, "is of a workdir"),
    ]:
        assert call(*words) == status
        error = capsys.readouterr().err
        assert error.startswith("bert-jax: ") and error.count("\n") == 1 and message in error, error
    for words in (("--format", "onnx", "--model", electra), ("--format", "hf")):
        with pytest.raises(SystemExit, match="2"):
            call(*words, *out)
    assert "one of the arguments --workdir --model is required" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_heads_that_a_run_did_not_train_are_named(prepared, straight, tmp_path, caplog):
    untrained = "the pooler and the pair head in the export are untrained"
    alone = changed(
        prepared, data={"sentence_objective": "none"}, train={"steps": 1}, optim={"warmup_steps": 0}
    )
    pretrain.run(alone, tmp_path / "fresh")
    pretrain.run(alone, tmp_path / "begun", init=straight)
    for workdir, said in ((straight, []), (tmp_path / "begun", []), (tmp_path / "fresh", [untrained])):
        caplog.clear()
        export.run(workdir, tmp_path / "out" / workdir.name)
        assert [m for m in caplog.messages if untrained in m] == [
            f"{workdir}: {u}: the run has config.data.sentence_objective=none" for u in said
        ]
