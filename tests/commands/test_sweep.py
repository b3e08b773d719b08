"""A real sweep of two variants, from the first line printed to the last trial finished, with a full disk on the way."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from bert_jax.__main__ import main
from bert_jax.errors import UserError
from bert_jax.probes import scores
from bert_jax.sweeps import definition, run, store, trials
from bert_jax.training.metrics import read_metrics
from tests.runs import lines


@pytest.fixture(scope="module")
def file(experiment, prepared, words_task) -> str:
    """One variant is the experiment of the fixtures, so that its trial is the run that nothing stopped."""
    path = experiment.parent / "sweep.py"
    path.write_text(
        f"""
from bert_jax.sweeps import Variant, Sweep

def get_sweep():
    return Sweep(
        question="With sentence order, or without?",
        base={experiment.name!r},
        variants=(
            Variant(name="none", values={{"data.sentence_objective": "none"}}),
            Variant(name="sop", values={{"data.sentence_objective": "sop"}}),
        ),
        seeds=(0,),
        tokens=12 * 8 * 32,
        probes=("mlm", "sop"),
        tasks={{"words": {words_task!r}}},
        measures=("mlm.loss", "sop.accuracy", "words.accuracy"),
    )
"""
    )
    return str(path)


@pytest.mark.slow
def test_a_sweep_survives_a_full_disk_and_its_trials_are_plain_runs(
    file, tmp_path, straight, capfd, monkeypatch
):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    S = tmp_path / "S"
    assert main(["sweep", file, "--workdir", str(S), "--executor", "commands"]) == 0
    printed = capfd.readouterr().out.splitlines()
    assert [shlex.split(line)[-3:] for line in printed] == [
        ["trial", str(S), "none-seed0"],
        ["trial", str(S), "sop-seed0"],
    ]
    assert all(line.startswith(f"cd {os.getcwd()} && ") for line in printed)
    # No file may grow beyond 64 KiB: the checkpoint cannot be written.
    ended = subprocess.run(["bash", "-c", f"ulimit -f 64; {printed[0]}"], capture_output=True, text=True)
    plan = store.read_plan(S)
    state = trials.trial_state(S, plan.trial("none-seed0"))
    assert (ended.returncode, state.status, state.failures) == (1, "failed", 1), ended.stderr
    assert "could not be written: File too large" in state.reason
    assert ended.stderr.strip().splitlines()[-1] == f"bert-jax: {state.reason}"

    assert main(["sweep", file, "--workdir", str(S), "--jobs", "1"]) == 0
    states = {trial.name: trials.trial_state(S, trial).status for trial in plan.trials}
    assert states == {"none-seed0": "finished", "sop-seed0": "finished"}
    assert lines(S / "trials" / "sop-seed0") == lines(straight)
    found = {trial.name: scores.read(trials.workdir(S, trial)) for trial in plan.trials}
    assert [score.name for score in found["none-seed0"].scores] == [
        "mlm.loss",
        "mlm.accuracy",
        "sop.accuracy",
        "words.accuracy",
    ]
    words = found["none-seed0"].scores[-1]
    assert (len(words.total_R), words.chance) == (40, 26 / 40)
    evaluation = read_metrics(S / "trials/none-seed0/finetuned/words-12/metrics.jsonl")[-1]
    assert evaluation["step"] == 2 and words.value == pytest.approx(evaluation["accuracy"])
    assert found["none-seed0"].settings == found["sop-seed0"].settings  # rows that compare
    assert found["none-seed0"].settings["data"]["sentence_objective"] == "none"

    before = {path: path.read_bytes() for path in S.glob("attempts/*.jsonl")}
    assert main(["sweep", file, "--workdir", str(S)]) == 0  # nothing is left to do
    assert {path: path.read_bytes() for path in S.glob("attempts/*.jsonl")} == before
    capfd.readouterr()
    assert main(["sweep", "--status", "--workdir", str(S)]) == 0
    assert "2 of 2 trials finished" in capfd.readouterr().out


def test_trials_that_fail_end_the_sweep_with_their_reasons(file, tmp_path, monkeypatch):
    monkeypatch.setattr("bert_jax.sweeps.local.run", lambda *args, **options: None)
    with pytest.raises(
        UserError, match=r"0 of 2 trials finished, 2 waiting: none-seed0 \(waiting\); sop-seed0"
    ):
        run.run_sweep(definition.load(file), tmp_path / "S", prepare=lambda config: None)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["sweep", "--workdir", "S"], "FILE is missing"),
        (["sweep", "FILE", "--workdir", "S", "--status"], "--status reads S alone"),
        (["sweep", "FILE", "--workdir", "S", "--attempts", "0"], "--attempts 0 must be >= 1"),
        (["sweep", "FILE", "--workdir", "S", "--stall", "nan"], "--stall nan must be > 0"),
        (["sweep", "FILE", "--workdir", "S", "--jobs", "0"], "--jobs 0 must be >= 1"),
        (["sweep", "FILE", "--workdir", "S", "--seeds", "1,x"], "--seeds 1,x must be whole numbers"),
        (["sweep", "FILE", "--workdir", "S", "--tokens", "10.5"], "--tokens 10.5 must be a whole number"),
        (["sweep", "FILE", "--workdir", "S", "--tokens", "many"], "--tokens many must be a whole number"),
        (["sweep", "FILE", "--workdir", "S", "--slurm", 'a "b'], '--slurm a "b must be words'),
        (["sweep", "FILE", "--workdir", "S", "--config.masking.rat=1"], "config.masking.rat is unknown"),
        (["trial", "S", "none-seed0"], "S is not the folder of a sweep"),
    ],
)
def test_bad_usage_is_one_line_and_writes_nothing(file, tmp_path, monkeypatch, capsys, words, fault):
    monkeypatch.chdir(tmp_path)
    status = main([file if word == "FILE" else word for word in words])
    assert status in (1, 2)
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "S").exists()


def test_an_unknown_probe_is_refused(file, tmp_path, capsys):
    other = Path(file).with_name("unknown.py")
    other.write_text(Path(file).read_text().replace('("mlm", "sop")', '("mlm", "sop", "mnli")'))
    assert main(["sweep", str(other), "--workdir", str(tmp_path / "S")]) == 2
    assert "probes: 'mnli' must be one of mlm" in capsys.readouterr().err


def test_list_shows_variants_budget_and_trials_and_runs_nothing(file, tmp_path, capsys):
    assert main(["sweep", file, "--workdir", str(tmp_path / "S"), "--list"]) == 0
    shown = capsys.readouterr().out
    assert "3,072 tokens a trial" in shown
    assert "variant none (baseline)" in shown
    assert "2: none-seed0, sop-seed0" in shown
    assert not (tmp_path / "S").exists()


def test_the_plan_in_the_folder_is_all_a_trial_needs(file, tmp_path, monkeypatch):
    """The trial's command takes its configuration from sweep.json, wherever the sweep file went."""
    from bert_jax.commands import pretrain, probe

    plan = definition.load(file)
    store.claim(tmp_path / "S", plan)
    trained, probed = {}, {}
    monkeypatch.setattr(pretrain, "run", lambda config, workdir, **rest: trained.update({workdir: config}))
    monkeypatch.setattr(probe, "run", lambda workdir, **rest: probed.update({workdir: rest}))
    assert main(["trial", str(tmp_path / "S"), "sop-seed0"]) == 0
    workdir = tmp_path / "S" / "trials" / "sop-seed0"
    assert trained == {workdir: plan.trial("sop-seed0").config}
    assert probed == {workdir: {"probes": ("mlm", "sop"), "reference": plan.reference, "tasks": plan.tasks}}
    assert json.loads((tmp_path / "S" / "sweep.json").read_text())["sweep"]["tokens"] == 3072


@pytest.mark.parametrize("first", [True, False])
def test_of_several_processes_the_first_probes_as_a_program_of_its_own(file, tmp_path, monkeypatch, first):
    from bert_jax.commands import pretrain, probe
    from bert_jax.training import processes

    S, done = tmp_path / "S", []
    store.claim(S, definition.load(file))
    monkeypatch.setattr(processes, "start", lambda given: done.append("started"))
    monkeypatch.setattr(processes, "is_alone", lambda: False)
    monkeypatch.setattr(processes, "is_first", lambda: first)
    monkeypatch.setattr(pretrain, "run", lambda *args, **rest: done.append("trained"))
    monkeypatch.setattr(probe, "run", lambda *args, **rest: done.append("probed"))
    monkeypatch.setattr(os, "execv", lambda program, words: done.append(words[1:]))
    ends = []
    monkeypatch.setattr(processes, "on_abort", ends.append)
    assert main(["trial", str(S), "sop-seed0"]) == 0
    again = ["-m", "bert_jax", "trial", str(S), "sop-seed0", "--probe"]
    assert done == ["started", "trained"] + [again] * first
    assert (S / "attempts" / "sop-seed0.jsonl").exists() == first  # one process notes what became of it
    assert len(ends) == first
    if first:
        ends[0](1, "process 0 of 2: another process is gone")
        state = trials.trial_state(S, store.read_plan(S).trial("sop-seed0"))
        assert (state.status, state.failures) == ("failed", 1)
        assert state.reason.startswith("process 0 of 2: another process is gone")
    monkeypatch.undo()
    monkeypatch.setattr(processes, "start", lambda given: pytest.fail("it looked for others"))
    monkeypatch.setattr(pretrain, "run", lambda *args, **rest: pytest.fail("it trained"))
    monkeypatch.setattr(probe, "run", lambda *args, **rest: done.append("probed"))
    assert main(["trial", str(S), "sop-seed0", "--probe"]) == 0
    assert done[-1] == "probed"
