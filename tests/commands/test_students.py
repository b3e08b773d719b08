"""A real sweep of a plain variant and a distilled one, from its teacher's name to the report."""

import csv
import json
import re
import shutil

import pytest

from bert_jax.__main__ import main
from bert_jax.commands import distill, pretrain, probe
from bert_jax.config import DistilPretrainConfig
from bert_jax.errors import ConfigError, UserError
from bert_jax.probes import scores
from bert_jax.sweeps import definition, run, store, trials
from bert_jax.training.metrics import read_metrics

pytestmark = pytest.mark.slow  # each compiles for a minute or more


@pytest.fixture(scope="module")
def file(experiment, prepared, words_task) -> str:
    """A student that learns from states and attention has no trained head for masked tokens."""
    path = experiment.parent / "students.py"
    path.write_text(
        f"""
from bert_jax.sweeps import Variant, Sweep

def get_sweep():
    return Sweep(
        question="With a teacher, or without?",
        base={experiment.name!r},
        common={{"data.sentence_objective": "none"}},
        variants=(
            Variant(name="plain", values={{}}),
            Variant(name="states", values={{"distil.hard": 0, "distil.hidden_mse": 1, "distil.attention_mse": 1}}),
        ),
        seeds=(0,),
        tokens=12 * 8 * 32,
        probes=("mlm",),
        tasks={{"words": {words_task!r}}},
        measures=("words.accuracy", "mlm.loss"),
    )
"""
    )
    return str(path)


def in_this_process(folder, trials, **options) -> None:
    """In the place of `local.run`, which starts a process for each trial; tests/commands/test_sweep.py lets it."""
    assert [main(["trial", str(folder), trial.name]) for trial in trials] == [0] * len(trials)


def test_a_sweep_with_a_teacher_runs_resumes_and_is_reported(file, tmp_path, straight, capsys, monkeypatch):
    S = tmp_path / "S"
    monkeypatch.setattr("bert_jax.sweeps.local.run", in_this_process)
    monkeypatch.chdir(straight.parent)
    assert main(["sweep", file, "--workdir", str(S), "--teacher", straight.name, "--list"]) == 0
    assert re.search(rf"^teacher +{straight.name} *$", capsys.readouterr().out, re.MULTILINE)
    assert main(["sweep", file, "--workdir", str(S), "--teacher", straight.name, "--jobs", "1"]) == 0
    plan = store.read_plan(S)
    assert plan.sweep.teacher == str(straight.resolve())
    states = S / "trials" / "states-seed0"
    assert json.loads((states / "teacher.json").read_text()) == {"teachers": [str(straight.resolve())]}
    assert not (S / "trials" / "plain-seed0" / "teacher.json").exists()
    last = {
        name: read_metrics(S / "trials" / f"{name}-seed0" / "metrics.jsonl")[-1]
        for name in ("plain", "states")
    }
    assert {"mlm_loss"} <= last["plain"].keys() and "hidden_mse_loss" not in last["plain"]
    assert {"hidden_mse_loss", "attention_mse_loss"} <= last["states"].keys() and "mlm_loss" not in last[
        "states"
    ]

    # A trial that was stopped before it was probed goes on from any directory.
    before = scores.read(states)
    (states / scores.JSON).unlink()
    monkeypatch.chdir(tmp_path)
    assert main(["trial", str(S), "states-seed0"]) == 0
    assert "mlm" in capsys.readouterr().out
    again = scores.read(states)
    assert [score.name for score in again.scores] == ["words.accuracy"]
    assert again.scores[0].value == before.scores[0].value
    assert trials.trial_state(S, plan.trial("states-seed0")).status == "finished"

    assert main(["report", str(S)]) == 0
    markdown = (S / "report.md").read_text()
    assert "mlm.loss: not measured in states" in markdown
    assert f"teacher of the variants with config.distil: {straight.resolve()}" in markdown
    assert "states: distil.hard=0, distil.hidden_mse=1, distil.attention_mse=1" in markdown
    assert "FLOPs are the student's alone" in markdown
    with (S / "comparisons.csv").open() as stream:
        verdicts = {(line["measure"], line["variant"]): line["verdict"] for line in csv.DictReader(stream)}
    assert verdicts["mlm.loss", "states"] == "not measured"
    assert verdicts["words.accuracy", "states"] in ("better", "worse", "too small to tell")


def test_a_teacher_is_handed_to_the_trials_that_read_it(file, tmp_path, monkeypatch):
    plan = definition.load(file, teacher="/models/T")
    store.claim(tmp_path / "S", plan)
    done = []
    monkeypatch.setattr(pretrain, "run", lambda config, workdir, **rest: done.append((config, rest.keys())))
    monkeypatch.setattr(
        distill, "run", lambda config, workdir, *, teachers, **rest: done.append((config, teachers))
    )
    monkeypatch.setattr(probe, "run", lambda workdir, **rest: None)
    for name in ("plain-seed0", "states-seed0"):
        assert main(["trial", str(tmp_path / "S"), name]) == 0
    assert done == [
        (plan.trial("plain-seed0").config, {"experiment", "command"}),
        (plan.trial("states-seed0").config, ("/models/T",)),
    ]
    assert isinstance(done[1][0], DistilPretrainConfig)


def refused(file, tmp_path, teacher, error, overrides=()):
    """What `run_sweep` says of a teacher before it writes anything."""
    plan = definition.load(file, overrides, teacher=teacher)
    with pytest.raises(error) as raised:
        run.run_sweep(plan, tmp_path / "S", prepare=lambda config: pytest.fail("it prepared text"))
    assert not (tmp_path / "S").exists()
    return str(raised.value)


def test_a_teacher_that_does_not_fit_ends_the_sweep_before_anything_runs(file, tmp_path, straight, capsys):
    assert main(["sweep", file, "--workdir", str(tmp_path / "S")]) == 2
    assert (
        "variant states: of distillation (config.distil), so that teacher='' must be"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "S").exists()
    assert "no such directory" in refused(file, tmp_path, str(tmp_path / "none"), UserError)
    assert "no model" in refused(file, tmp_path, "runs/none", UserError)
    (tmp_path / "empty").mkdir()
    assert "no model that can be read here" in refused(file, tmp_path, str(tmp_path / "empty"), UserError)
    found = refused(file, tmp_path, str(straight), ConfigError, ["model.num_heads=4"])
    assert found == (
        f"--teacher {straight}: variant states: config.distil.attention_mse=1.0 must go with equal heads: the student has"
        " 4, the teacher 2; relations compare any"
    )


def test_a_sweep_is_of_one_teacher_by_whatever_path_it_is_named(
    file, tmp_path, straight, capsys, monkeypatch
):
    words = ["sweep", file, "--workdir", str(tmp_path / "S"), "--executor", "commands", "--teacher"]
    monkeypatch.chdir(straight.parent)
    assert main([*words, straight.name]) == 0
    monkeypatch.chdir(tmp_path)
    assert main([*words, str(straight)]) == 0
    shutil.copytree(straight, tmp_path / "copy")
    assert main([*words, "copy"]) == 2
    assert f"teacher: '{tmp_path / 'copy'}' now, '{straight}' there" in capsys.readouterr().err
