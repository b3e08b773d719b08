"""A sweep as a job array on a real Slurm; one task is queued again while it trains."""

import re
import sys
from pathlib import Path

import pytest

from bert_jax.probes import scores
from bert_jax.sweeps import store, trials
from bert_jax.training.metrics import read_metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def file(experiment, prepared) -> Path:
    path = experiment.parent / "array.py"
    path.write_text(
        f"""
from bert_jax.sweeps import Variant, Sweep

def get_sweep():
    return Sweep(
        question="With sentence order, or without?",
        base={experiment.name!r},
        variants=(
            Variant(name="sop", values={{"data.sentence_objective": "sop"}}),
            Variant(name="none", values={{"data.sentence_objective": "none"}}),
        ),
        common={{
            "train.log_every": 5,
            "train.eval_every": 100,
            "checkpoint.every": 10_000,
            "model.dropout_rate": 0.0,
            "model.attention_dropout_rate": 0.0,
        }},
        seeds=(0,),
        tokens=100 * 8 * 32,
        probes=("mlm",),
        measures=("mlm.loss",),
    )
"""
    )
    return path


@pytest.mark.slow
def test_a_sweep_runs_as_an_array_and_a_task_that_is_queued_again_resumes(slurm, file, tmp_path):
    S = tmp_path / "S"
    submit = (sys.executable, "-m", "bert_jax", "sweep", file, "--workdir", S, "--executor", "slurm")
    said = slurm.run(*submit, folder=ROOT)
    job = said.split("submitted job array ")[1].split()[0]
    plan = store.read_plan(S)
    trial = plan.trial("sop-seed0")
    workdir = trials.workdir(S, trial)
    slurm.wait(lambda: len(read_metrics(workdir / "metrics.jsonl")) > 1, "a line of the first trial")
    slurm.run("scontrol", "requeue", f"{job}_0")

    for task in ("0", "1"):
        assert slurm.end_of(f"{job}_{task}")["ExitCode"] == "0:0", (S / "logs/sop-seed0.txt").read_text()
    assert slurm.show(f"{job}_0")["Restarts"] == "1"
    (resumed,) = re.findall(r"resuming .* at step (\d+) of 100", (S / "logs/sop-seed0.txt").read_text())
    assert 0 < int(resumed) < 100
    assert [line["step"] for line in read_metrics(workdir / "metrics.jsonl") if line["split"] == "train"] == [
        *range(5, 101, 5)
    ]
    for each in plan.trials:
        assert trials.trial_state(S, each).status == "finished"
        assert scores.read(trials.workdir(S, each)).scores
    assert "nothing to submit" in slurm.run(*submit, folder=ROOT)
