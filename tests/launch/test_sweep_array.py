"""A sweep as a job array on a real Slurm, preempted by another while it trains."""

import re
import sys
from pathlib import Path

import pytest

from bert_jax.probes import scores
from bert_jax.sweeps import store, trials
from tests.runs import assert_alike, lines

ROOT = Path(__file__).parents[2]
STEPS = 400


@pytest.fixture(scope="module")
def file(experiment, prepared) -> Path:
    path = experiment.parent / "array.py"
    path.write_text(
        f"""
STEPS = {STEPS}

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
            "train.log_every": STEPS // 20,
            "train.eval_every": STEPS,
            "checkpoint.every": 10_000,
            "model.dropout_rate": 0.0,
            "model.attention_dropout_rate": 0.0,
        }},
        seeds=(0,),
        tokens=STEPS * 8 * 32,
        probes=("mlm",),
        measures=("mlm.loss",),
    )
"""
    )
    return path


def steps(workdir: Path) -> list[int]:
    """Of the training batches that a run has logged."""
    return [line["step"] for line in lines(workdir) if line["split"] == "train"]


@pytest.mark.slow
def test_a_preempted_array_resumes_and_ends_as_one_that_was_not(slurm, file, tmp_path):
    """The other is the same sweep in a partition of greater priority, where each task asks for a node of its own.

    Equal to rounding: a program from the cache of compiled ones may round otherwise than one that was just compiled.
    """
    S, other = tmp_path / "S", tmp_path / "other"

    def submit(folder: Path, *options: str) -> str:
        words = (sys.executable, "-m", "bert_jax", "sweep", file, "--workdir", folder, "--executor", "slurm")
        return slurm.run(*words, *options, folder=ROOT)

    def number(said: str) -> str:
        return said.split("submitted job array ")[1].split()[0]

    urgent = number(submit(other, "--slurm", "--partition=urgent --exclusive --hold"))
    job = number(submit(S))
    plan = store.read_plan(S)
    workdirs = [trials.workdir(S, trial) for trial in plan.trials]
    slurm.wait(lambda: any(steps(workdir) for workdir in workdirs), "a step of a trial")
    slurm.run("scontrol", "release", urgent)

    logs = [S / f"logs/{trial.name}.txt" for trial in plan.trials]
    for array, restarts in ((urgent, "0"), (job, "1")):
        for task, log in enumerate(logs):
            ended = slurm.end_of(f"{array}_{task}", seconds=600)
            assert (ended["ExitCode"], ended["Restarts"]) == ("0:0", restarts), log.read_text()
    resumed = [re.findall(rf"resuming .* at step (\d+) of {STEPS}", log.read_text()) for log in logs]
    assert any(0 < int(step) < STEPS for each in resumed for step in each), resumed
    for trial in plan.trials:
        ours, theirs = (trials.workdir(folder, trial) for folder in (S, other))
        assert_alike(lines(ours), lines(theirs), rel=1e-4)
        assert steps(ours) == [*range(STEPS // 20, STEPS + 1, STEPS // 20)]
        assert trials.trial_state(S, trial).status == "finished"
        assert scores.read(ours).scores
        found, wanted = (
            {score.name: float(score.total_R.sum()) for score in scores.read(folder).scores}
            for folder in (ours, theirs)
        )
        assert found == pytest.approx(wanted, rel=1e-3)
    assert "nothing to submit" in submit(S)
