"""bert-jax average: the mean of checkpoints, its scores, and the model that it leaves."""

import json
import re
import shutil

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax.__main__ import main
from bert_jax.commands import average, evaluate, export, pretrain
from bert_jax.models import electra
from bert_jax.models.parameters import flatten, nest
from bert_jax.tasks.average import average as average_of
from bert_jax.tasks.average import compare
from bert_jax.tasks.load import load_model
from bert_jax.tasks.saved_run import open_run
from bert_jax.training.metrics import read_metrics
from tests import labelled
from tests.commands.test_pretrain import changed
from tests.commands.test_rtd import make_config
from tests.tiny_models import save_tiny

pytestmark = pytest.mark.slow  # each compiles for a minute or more


def call(*words):
    return main(["average", *map(str, words)])


def mean_of(workdir, steps):
    """{path: mean over the checkpoints}, in float64."""
    each = [flatten(jax.device_get(open_run(workdir).params(step))) for step in steps]
    return {path: np.mean([params[path].astype(np.float64) for params in each], axis=0) for path in each[0]}


def last_scores(workdir, names):
    """What the run itself found at its last step."""
    line = [line for line in read_metrics(workdir / "metrics.jsonl") if line["split"] == "eval"][-1]
    return {name: line[name] for name in names}


def assert_are_the_mean(params, mean):
    found = flatten(jax.device_get(params))
    assert found.keys() == mean.keys()
    for path, leaf in found.items():
        np.testing.assert_array_equal(leaf, mean[path].astype(np.float32), err_msg=path)


def test_it_is_the_mean_of_the_checkpoints_and_a_model_like_any_other(straight, tmp_path, capsys):
    out = tmp_path / "out"
    assert call("--workdir", straight, "--checkpoints", "4,12", "--out", out) == 0
    printed = capsys.readouterr().out
    model = bert_jax.load(out)
    assert_are_the_mean(model.params, mean_of(straight, (4, 12)))
    assert (model.config, model.tokenizer.names) == (
        bert_jax.load(straight).config,
        bert_jax.load(straight).tokenizer.names,
    )
    about = json.loads((out / "average.json").read_text())
    assert json.loads(printed.splitlines()[-1]) == {"out": str(out), **about}
    assert about["workdir"] == str(straight) and about["checkpoints"] == [4, 12]
    export.run(out, tmp_path / "hf")
    np.testing.assert_array_equal(
        bert_jax.load(tmp_path / "hf")(np.array([[2, 7, 8, 3]])).mlm_logits_BLV,
        model(np.array([[2, 7, 8, 3]])).mlm_logits_BLV,
    )


def test_its_scores_are_those_of_evaluate_and_of_the_mean(straight, prepared, tmp_path, capsys):
    """The mean, evaluated by other means: as the first parameters of a run of the same rows."""
    compared = average.run(straight, ("last:2", "4"), out=tmp_path / "out")
    printed = capsys.readouterr().out
    assert list(compared.checkpoints) == [4, 8, 12]
    for step, scores in compared.checkpoints.items():
        expected = evaluate.run(straight, checkpoint=str(step))
        assert scores == {name: expected[name] for name in scores}
    config = changed(
        prepared, train={"steps": 1, "eval_every": 1, "eval_batches": 0}, optim={"warmup_steps": 0}
    )
    pretrain.run(config, tmp_path / "next", init=tmp_path / "out")
    first = json.loads((tmp_path / "next" / "metrics.jsonl").read_text().splitlines()[0])
    assert (first["step"], first["split"]) == (0, "eval")
    assert compared.average["loss"] == pytest.approx(first["loss"], rel=1e-5)
    losses = [scores["loss"] for scores in compared.checkpoints.values()]
    row = rf"average +{compared.average['loss']:.4f} \(best checkpoint: {min(losses):.4f}\)"
    assert re.search(row, printed) and "held-out loss" in printed and len(set(losses)) == 3


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (("last:3",), (4, 8, 12)),
        (("4", "last"), (4, 12)),
        (("8", "4", "8"), (4, 8)),
        (("best", "4"), (4, 12)),
    ],
)
def test_names_of_checkpoints(straight, names, steps):
    assert average_of(straight, names).steps == steps


def test_a_run_whose_corpus_is_gone_is_averaged_unscored_into_its_folder(straight, tmp_path, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(straight, workdir)
    config = json.loads((workdir / "config.json").read_text())
    config["config"]["data"]["directory"] = str(tmp_path / "nowhere")
    (workdir / "config.json").write_text(json.dumps(config))
    assert average.run(workdir, ("8", "12")) is None
    assert "not scored" in capsys.readouterr().out
    assert_are_the_mean(load_model(workdir / "average-8-12").params, mean_of(straight, (8, 12)))


def test_from_python(straight):
    model = bert_jax.average(straight, [8, "last"])
    assert_are_the_mean(model.params, mean_of(straight, (8, 12)))
    assert len(model.fill_mask("the [MASK] cat")) == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("4,9", r"no checkpoint '9' in .*: there are last, best, 4, 8, 12"),
        ("last:x", r"no checkpoint 'last:x' in .*: there are last, best, 4, 8, 12"),
        ("12,last", r"checkpoints 12,last must name two or more different ones in .*: there are 4, 8, 12;"),
        ("last:4", r"checkpoints last:4 must be 1 to 3 in .*: there are 4, 8, 12; config.checkpoint.keep"),
        ("last:0", r"checkpoints last:0 must be 1 to 3 in"),
        ("", r"must name two or more"),
    ],
)
def test_checkpoints_that_are_not_there_are_one_line(straight, tmp_path, capsys, names, message):
    assert call("--workdir", straight, f"--checkpoints={names}", "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(message, said), said
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_or_not_free_is_one_line(straight, tmp_path, capsys):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    for words, message in [
        (("--workdir", tmp_path, "--checkpoints", "1,2"), "is not a workdir"),
        (("--workdir", straight, "--checkpoints", "4,8", "--out", tmp_path / "taken"), "taken: is not empty"),
        (
            ("--workdir", straight, "--checkpoints", "4,8", "--part", "generator"),
            "has no generator: the run has",
        ),
        (("--workdir", straight, "--checkpoints", "4,8", "--config.seed=1"), "has no effect here"),
    ]:
        assert call(*words) in (1, 2)
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1


def test_of_two_encoders_either_one(prepared, tmp_path):
    """Disentangled tables are differences in the run's parameters and whole in the encoder's. With config.train.ema it is
    the mean of averages, each scored as the run scored it."""
    objective = {"embedding_sharing": "disentangled", "z_loss": 0.01}
    config = changed(make_config(prepared), objective=objective, train={"ema": 0.5})
    pretrain.run(config, tmp_path / "run")
    mean = {path: leaf.astype(np.float32) for path, leaf in mean_of(tmp_path / "run", (3, 6)).items()}
    for part, cut in (
        ("generator", electra.generator_params),
        ("discriminator", electra.discriminator_params),
    ):
        found = average_of(tmp_path / "run", ("3", "6"), part=part)
        expected = flatten(jax.device_get(cut(nest(mean), "disentangled")))
        assert_are_the_mean(found.model.params, expected)
    compared = compare(tmp_path / "run", found)
    assert {"loss", "mlm_loss", "z_loss", "rtd_loss"} <= compared.average.keys()
    assert compared.checkpoints[6] == pytest.approx(last_scores(tmp_path / "run", compared.average), rel=1e-5)


def test_of_a_fine_tuned_run_with_its_head(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))
    save_tiny(tmp_path / "model", ["good", "bad", "film", "the", "was"], num_layers=1)
    experiment = labelled.write(
        tmp_path,
        [(f"the film was {word}", word) for word in ("good", "bad")] * 8,
        task__max_length=16,
        train__batch_size=8,
        train__steps=4,
        train__eval_every=2,
        train__ema=0.7,
        checkpoint__keep=2,
        optim__learning_rate=3e-3,
    )
    flags = (
        "--config",
        experiment,
        "--init",
        tmp_path / "model",
        "--workdir",
        tmp_path / "run",
    )
    assert main(["finetune", *map(str, flags)]) == 0
    compared = average.run(tmp_path / "run", ("2", "4"), out=tmp_path / "out")
    assert compared.select.name == "accuracy" and "class_loss" in compared.average
    assert compared.checkpoints[4] == pytest.approx(last_scores(tmp_path / "run", compared.average), rel=1e-5)
    assert_are_the_mean(load_model(tmp_path / "out").params, mean_of(tmp_path / "run", (2, 4)))
    assert {found.label for found in bert_jax.load(tmp_path / "out").classify(["the film was good"])} <= {
        "good",
        "bad",
    }
