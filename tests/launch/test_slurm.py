"""launch/slurm.sbatch on a real Slurm: a job is stopped in every way, resumes, and ends as if it was not."""

import re
from pathlib import Path

import pytest

from bert_jax.training.metrics import read_metrics
from tests.runs import assert_alike, lines

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch/slurm.sbatch"

# Enough steps to be stopped before the end; only a signal makes the run save before that.
CHANGES = {
    "train": {"steps": 100, "log_every": 5, "eval_every": 100, "eval_batches": 1},
    "checkpoint": {"every": 10_000},
    "model": {"dropout_rate": 0.0, "attention_dropout_rate": 0.0},  # compiles in less time
}

# In place of bert_jax. `wait` runs until it is stopped; with `exit=N` process 1 ends with N, and 0 waits.
STAND_IN = """
import os, signal, sys, time

def stop(number, frame):
    print(rank, "saved", flush=True)
    sys.exit(143)

rank = os.environ["SLURM_PROCID"]
signal.signal(signal.SIGTERM, stop)
what, _, status = sys.argv[1].partition("=")
print(rank, "began", sys.argv[2:], flush=True)
if what == "wait" or (what == "exit" and rank == "0"):
    time.sleep(300)
sys.exit(int(status or 0))
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stand_in")
    (folder / "bert_jax").mkdir()
    (folder / "bert_jax/__init__.py").touch()
    (folder / "bert_jax/__main__.py").write_text(STAND_IN)
    return folder


@pytest.fixture(scope="module")
def limited(slurm, stand_in):
    """A job of one minute that is signalled 30 s before its limit; other tests run meanwhile."""
    options = ("--ntasks=2", "--time=1", "--signal=TERM@30", "--output=limited.txt")
    return slurm.submit(SCRIPT, "wait", folder=stand_in, options=options, MAX_RESTARTS="0")


def text(path):
    return path.read_text() if path.exists() else ""


def step(folder):
    """The last step that a run has logged."""
    return max((line["step"] for line in read_metrics(folder / "metrics.jsonl")), default=0)


def pretrain(experiment, workdir, changes):
    """The words of the command."""
    overrides = [
        f"--config.{group}.{name}={value}"
        for group, values in changes.items()
        for name, value in values.items()
    ]
    return ["pretrain", "--config", experiment, *overrides, "--workdir", workdir]


@pytest.mark.slow
def test_two_nodes_train_as_one_with_two_processes(slurm, experiment, prepared, tmp_path):
    """One process per node without GPUs. The same processes compute the same, wherever they are."""
    changes = {"model": CHANGES["model"]}
    found = {}
    for name, option in (("two nodes", "--nodes=2"), ("one node", "--ntasks=2")):
        run, out = tmp_path / name, tmp_path / f"{name}.txt"
        words = pretrain(experiment, run, changes)
        job = slurm.submit(SCRIPT, *words, folder=ROOT, options=(option, f"--output={out}"))
        ended = slurm.end_of(job)
        assert (ended["JobState"], ended["ExitCode"], ended["NumNodes"]) == (
            "COMPLETED",
            "0:0",
            "2" if option == "--nodes=2" else "1",
        ), text(out)
        found[name] = lines(run)
    assert_alike(found["two nodes"], found["one node"], rel=1e-5)
    assert found["two nodes"][-1]["step"] == 12


@pytest.mark.slow
def test_a_job_of_two_nodes_of_which_one_fails_or_is_signalled(slurm, stand_in):
    """A process that fails ends that of the other node; a signal reaches both; a node that is down is done without."""
    out = stand_in / "nodes-exit.txt"
    job = slurm.submit(SCRIPT, "exit=1", folder=stand_in, options=("--nodes=2", f"--output={out}"))
    ended = slurm.end_of(job)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "1:0", "0"), text(out)
    assert "0 saved" in text(out) and "process 1 on" in text(out)

    out = stand_in / "nodes-wait.txt"
    job = slurm.submit(SCRIPT, "wait", folder=stand_in, options=("--nodes=2", f"--output={out}"))
    slurm.wait(lambda: text(out).count("began") == 2, "both processes")
    slurm.run("scancel", "--signal=TERM", job)
    slurm.wait(lambda: text(out).count("began") == 4, "both processes again")
    assert text(out).count("0 saved") == text(out).count("1 saved") == 1 and "queued again" in text(out)
    slurm.run("scontrol", "update", "NodeName=node2", "State=DOWN", "Reason=test")
    slurm.run("scontrol", "update", "NodeName=node2", "State=RESUME")
    slurm.wait(lambda: text(out).count("began") == 6, "both processes after a node was down")
    assert slurm.show(job)["Restarts"] == "2"
    slurm.run("scancel", job)
    assert slurm.end_of(job)["JobState"] == "CANCELLED"


@pytest.mark.slow
def test_a_job_that_a_signal_stopped_resumes_by_itself(slurm, limited, experiment, prepared, tmp_path):
    """By a signal to the steps alone, as before a time limit. That two processes compute what one does is shown in
    tests/commands/test_processes.py; a requeue by Slurm itself in test_sweep_array.py."""
    run, out = tmp_path / "run", tmp_path / "out.txt"
    words = pretrain(experiment, run, CHANGES)
    job = slurm.submit(SCRIPT, *words, folder=ROOT, options=("--ntasks=2", f"--output={out}"))
    slurm.wait(lambda: step(run) >= 5, "five steps")
    slurm.run("scancel", "--signal=TERM", job)
    ended, said = slurm.end_of(job), text(out)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("COMPLETED", "0:0", "1"), said
    (saved,) = {int(number) for number in re.findall(r"SIGTERM at step (\d+): saved", said)}
    (resumed,) = {int(number) for number in re.findall(r"resuming .* at step (\d+) of 100", said)}
    assert 0 < saved == resumed < 100, said
    first, _ = said.split("resuming")
    assert "saved; job" in first and "queued again" in first
    train = [line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "train"]
    assert [line["step"] for line in train] == [*range(5, 101, 5)]
    assert train[-1]["loss"] < train[0]["loss"]


def test_a_job_that_saved_is_queued_again_at_most_max_restarts_times(slurm, stand_in):
    """As one task of an array, whose job has its own number."""
    out = stand_in / "bounded.txt"
    options = ("--array=3", "--ntasks=2", f"--output={out}")
    job = slurm.submit(SCRIPT, "wait", "two words", folder=stand_in, options=options, MAX_RESTARTS="1")
    for count in (1, 2):
        slurm.wait(lambda count=count: text(out).count("began") == 2 * count, f"begin {count}")
        slurm.run("scancel", "--signal=TERM", f"{job}_3")
    ended = slurm.end_of(f"{job}_3")
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "143:0", "1"), text(out)
    assert text(out).count("saved") == 4 + 2  # by each process, and by the script
    assert "saved; not queued again after 1 restarts" in text(out)
    assert text(out).count("began ['two words']") == 4


def test_a_job_that_failed_or_was_cancelled_is_not_queued_again(slurm, stand_in):
    """A process that fails ends the other, with 143; when the job is cancelled, both save and print it."""
    outs = {name: stand_in / f"{name}.txt" for name in ("exit=1", "exit=2", "wait")}
    jobs = {
        name: slurm.submit(
            SCRIPT, name, folder=stand_in, options=("--ntasks=2", f"--output={out}"), ATTEMPTS="2"
        )
        for name, out in outs.items()
    }
    slurm.wait(lambda: text(outs["wait"]).count("began") == 2, "the job to be cancelled")
    slurm.run("scancel", jobs["wait"])
    for name, state in (("exit=1", "FAILED"), ("exit=2", "FAILED"), ("wait", "CANCELLED")):
        ended, said = slurm.end_of(jobs[name]), text(outs[name])
        assert (ended["JobState"], ended["Restarts"]) == (state, "0"), said
        assert "0 saved" in said
        assert "queued" not in said
        if state == "FAILED":
            assert ended["ExitCode"] == f"{name[-1]}:0", said
            # Of two processes each time; a wrong command is not tried again.
            assert said.count("began") == {"exit=1": 4, "exit=2": 2}[name]


def test_one_process_per_gpu_or_per_node(slurm, stand_in):
    for options, count in (
        (("--gpus-per-node=2",), 2),
        (("--cpus-per-task=3",), 1),
        (("--nodes=2", "--gpus-per-node=2"), 4),
    ):
        out = stand_in / f"devices{count}.txt"
        job = slurm.submit(SCRIPT, "end", folder=stand_in, options=(*options, f"--output={out}"))
        assert slurm.end_of(job)["ExitCode"] == "0:0", text(out)
        assert sorted(re.findall(r"(\d) began", text(out))) == [str(rank) for rank in range(count)]


@pytest.mark.slow
def test_before_the_time_limit_the_processes_are_signalled_and_the_script_is_not(slurm, limited, stand_in):
    ended, said = slurm.end_of(limited), text(stand_in / "limited.txt")
    assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "143:0"), said
    assert "0 saved" in said and "1 saved" in said
    assert "saved; not queued again after 0 restarts" in said


def test_a_missing_command_is_wrong_usage(slurm, stand_in):
    out = stand_in / "none.txt"
    job = slurm.submit(SCRIPT, folder=stand_in, options=(f"--output={out}",))
    assert slurm.end_of(job)["ExitCode"] == "2:0"
    assert text(out).startswith("slurm.sbatch: no command: sbatch launch/slurm.sbatch pretrain --config FILE")
