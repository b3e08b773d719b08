"""The folder of a sweep says whose it is and where each trial stands."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bert_jax import locks
from bert_jax.errors import ConfigError, Interrupted, UserError
from bert_jax.sweeps import Column, Published, folder
from tests.sweeps.plans import make_plan


def test_a_sweep_reads_back_as_it_was_written(tmp_path):
    published = Published(
        source="table 1",
        columns=(Column("X", "mlm.loss"), Column("Y")),
        rows={"r": (1.0, "2/3"), "s": (None, 4)},
        arms={"r": "a"},
    )
    plan = make_plan(published=published)
    folder.claim(tmp_path / "S", plan)
    assert folder.read_sweep(tmp_path / "S") == plan


def test_a_folder_is_taken_again_by_its_sweep_and_by_one_with_more_arms_or_seeds(tmp_path):
    folder.claim(tmp_path, make_plan(seeds=(0,)))
    folder.claim(tmp_path, make_plan(seeds=(0, 1)))
    folder.claim(tmp_path, make_plan(seeds=(0, 1), arms={"a": 0.15, "b": 0.3, "c": 0.4}))
    assert [t.name for t in folder.read_sweep(tmp_path).trials][-1] == "c-seed1"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"tokens": 5120}, "tokens: 5120 now, 2560 there"),
        ({"seeds": (0,)}, "trial a-seed1 is there and not in sweep.py"),
        ({"arms": {"a": 0.15, "b": 0.31}}, "trial b-seed0: config.masking.rate: 0.31 now, 0.3 there"),
        ({"baseline": "b"}, "baseline: 'b' now, 'a' there"),
        ({"probes": ("mlm",)}, "probes: ('mlm',) now, ('mlm', 'nsp', 'sop') there"),
        ({"sequence_length": 64, "tokens": 2560}, "probed on: config.data.sequence_length: 64 now, 32 there"),
    ],
)
def test_the_folder_of_another_sweep_is_refused_with_what_differs(tmp_path, changes, fault):
    folder.claim(tmp_path, make_plan())
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(ConfigError) as error:
        folder.claim(tmp_path, make_plan(**changes))
    assert f"  {fault}" in error.value.faults
    assert error.value.faults[0] == f"--workdir {tmp_path} is of another sweep, sweep.py; choose another:"
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and has no sweep\.json"):
        folder.claim(tmp_path, make_plan())
    with pytest.raises(UserError, match=r"is not the folder of a sweep: it has no sweep\.json"):
        folder.read_sweep(tmp_path)
    (tmp_path / "sweep.json").write_text('{"sweep": 3}')
    with pytest.raises(UserError, match="not a sweep"):
        folder.read_sweep(tmp_path)


@pytest.fixture
def trial(tmp_path):
    plan = make_plan()
    folder.claim(tmp_path, plan)
    return plan.trials[0]


def log_a_step(tmp_path, trial, step=4):
    workdir = folder.workdir(tmp_path, trial)
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"step": step, "split": "train", "loss": 3.5, "tokens_per_s": 100.0}) + "\n")
        stream.write(json.dumps({"step": step, "split": "eval", "loss": 9.0}) + '\n{"cut sh')


def status(tmp_path, trial):
    state = folder.trial_state(tmp_path, trial)
    return state.status, state.step, state.failures, state.reason


def test_states_follow_what_the_trial_leaves(tmp_path, trial):
    assert status(tmp_path, trial) == ("waiting", 0, 0, "")
    with folder.attempt(tmp_path, trial):
        assert status(tmp_path, trial) == ("running", 0, 0, "")
        log_a_step(tmp_path, trial)
        assert status(tmp_path, trial) == ("running", 4, 0, "")
        with pytest.raises(UserError, match=r"a-seed0 of .+ is in use by another process"):
            folder.attempt(tmp_path, trial).__enter__()
    assert status(tmp_path, trial) == ("cut", 4, 0, "")  # it ended well, and was not probed
    with pytest.raises(UserError), folder.attempt(tmp_path, trial):
        raise UserError("the disk is full\nand more")
    assert status(tmp_path, trial) == ("failed", 4, 1, "the disk is full")
    with pytest.raises(Interrupted), folder.attempt(tmp_path, trial):
        raise Interrupted("SIGTERM at step 4: saved.", signal.SIGTERM)
    assert status(tmp_path, trial) == ("cut", 4, 1, "SIGTERM at step 4: saved.")
    with pytest.raises(ZeroDivisionError), folder.attempt(tmp_path, trial):
        _ = 1 / 0
    assert status(tmp_path, trial) == ("failed", 4, 2, "ZeroDivisionError: division by zero")
    probes = folder.workdir(tmp_path, trial) / "probes.json"
    probes.write_text(json.dumps({"step": 3}))  # of an earlier checkpoint
    assert status(tmp_path, trial)[0] == "failed"
    probes.write_text(json.dumps({"step": trial.config.train.steps}))
    assert status(tmp_path, trial)[0] == "finished"
    assert folder.trial_state(tmp_path, trial).loss == 3.5


def test_a_trial_that_never_logged_says_so(tmp_path, trial):
    with pytest.raises(UserError), folder.attempt(tmp_path, trial):
        raise UserError("no prepared corpus")
    assert status(tmp_path, trial) == ("failed", 0, 1, "no prepared corpus (it never logged a step)")


def test_a_trial_that_was_killed_is_cut_not_running(tmp_path, trial):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom bert_jax.sweeps import folder\n"
        f"S = Path({str(tmp_path)!r})\n"
        "with folder.attempt(S, folder.read_sweep(S).trials[0]):\n    time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 30
        while status(tmp_path, trial)[0] != "running" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert status(tmp_path, trial)[0] == "running"
    finally:
        child.kill()
        child.wait()
    assert status(tmp_path, trial) == ("cut", 0, 0, "killed (it never logged a step)")


def test_a_trial_of_another_machine_counts_as_running_while_it_logs(tmp_path, trial):
    note = {"began": time.time(), "host": "elsewhere", "process": 1, "job": None}
    file = tmp_path / "attempts" / f"{trial.name}.jsonl"
    file.write_text(json.dumps(note) + "\n")
    assert status(tmp_path, trial)[0] == "running"
    file.write_text(json.dumps({**note, "began": time.time() - 3600}) + "\n")
    assert status(tmp_path, trial)[0] == "cut"
    log_a_step(tmp_path, trial)
    assert status(tmp_path, trial)[0] == "running"


def test_asking_for_a_lock_neither_takes_it_nor_trusts_a_dead_holder(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    assert not locks.is_held(path)
    with locks.held(path, "it"):
        assert locks.is_held(path)
    path.write_text(
        json.dumps({"process": os.getpid(), "host": os.uname().nodename})
    )  # left by one whose number is ours now
    assert not locks.is_held(path)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    path.write_text(json.dumps({"process": child.pid, "host": os.uname().nodename}))
    assert not locks.is_held(path)
    monkeypatch.setattr("fcntl.flock", lambda *_: pytest.fail("another may be taking it now"))
    assert not locks.is_held(path)
