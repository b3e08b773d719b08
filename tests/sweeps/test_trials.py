"""The state of a trial, read from the files that it wrote."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from bert_jax import locks
from bert_jax.errors import ConfigError, Interrupted, UserError
from bert_jax.sweeps import store, trials
from tests.sweeps.plans import make_plan


@pytest.fixture
def trial(tmp_path):
    plan = make_plan()
    store.claim(tmp_path, plan)
    return plan.trials[0]


def log_a_step(tmp_path, trial, step=4):
    workdir = trials.workdir(tmp_path, trial)
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"step": step, "split": "train", "loss": 3.5, "tokens_per_s": 100.0}) + "\n")
        stream.write(json.dumps({"step": step, "split": "eval", "loss": 9.0}) + '\n{"cut sh')


def status(tmp_path, trial):
    state = trials.trial_state(tmp_path, trial)
    return state.status, state.step, state.failures, state.reason


def test_states_follow_what_the_trial_leaves(tmp_path, trial):
    assert status(tmp_path, trial) == ("waiting", 0, 0, "")
    with trials.attempt(tmp_path, trial):
        assert status(tmp_path, trial) == ("running", 0, 0, "")
        log_a_step(tmp_path, trial)
        assert status(tmp_path, trial) == ("running", 4, 0, "")
        with pytest.raises(UserError, match=r"a-seed0 of .+ is in use by another process"):
            trials.attempt(tmp_path, trial).__enter__()
    assert status(tmp_path, trial) == ("interrupted", 4, 0, "")  # it ended well, and was not probed
    with pytest.raises(UserError), trials.attempt(tmp_path, trial):
        raise ConfigError(["the disk is full", "and more"])
    assert status(tmp_path, trial) == ("failed", 4, 1, "the disk is full")
    with pytest.raises(Interrupted), trials.attempt(tmp_path, trial):
        raise Interrupted("SIGTERM at step 4: saved.", signal.SIGTERM)
    assert status(tmp_path, trial) == ("interrupted", 4, 1, "SIGTERM at step 4: saved.")
    with pytest.raises(ZeroDivisionError), trials.attempt(tmp_path, trial):
        _ = 1 / 0
    assert status(tmp_path, trial) == ("failed", 4, 2, "ZeroDivisionError: division by zero")
    probes = trials.workdir(tmp_path, trial) / "probes.json"
    probes.write_text(json.dumps({"step": 3}))  # of an earlier checkpoint
    assert status(tmp_path, trial)[0] == "failed"
    probes.write_text(json.dumps({"step": trial.config.train.steps}))
    assert status(tmp_path, trial)[0] == "finished"
    assert trials.trial_state(tmp_path, trial).loss == 3.5


def test_a_trial_that_never_logged_says_so(tmp_path, trial):
    with pytest.raises(UserError), trials.attempt(tmp_path, trial):
        raise UserError("no prepared corpus")
    assert status(tmp_path, trial) == ("failed", 0, 1, "no prepared corpus (it never logged a step)")


def test_a_trial_that_was_killed_is_interrupted_not_running(tmp_path, trial):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom bert_jax.sweeps import store, trials\n"
        f"S = Path({str(tmp_path)!r})\n"
        "with trials.attempt(S, store.read_plan(S).trials[0]):\n    time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 30
        # The lock is taken before the beginning is recorded: wait for both.
        while not trials.read_attempts(tmp_path, trial) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert status(tmp_path, trial)[0] == "running"
    finally:
        child.kill()
        child.wait()
    assert status(tmp_path, trial) == ("interrupted", 0, 0, "killed (it never logged a step)")


def test_a_trial_of_another_machine_counts_as_running_while_it_logs(tmp_path, trial):
    entry = {"began": time.time(), "host": "elsewhere", "process": 1, "job": None}
    file = tmp_path / "attempts" / f"{trial.name}.jsonl"
    file.write_text(json.dumps(entry) + "\n")
    assert status(tmp_path, trial)[0] == "running"
    file.write_text(json.dumps({**entry, "began": time.time() - 3600}) + "\n")
    assert status(tmp_path, trial)[0] == "interrupted"
    log_a_step(tmp_path, trial)
    assert status(tmp_path, trial)[0] == "running"


def holder(process):
    """What a lock file says of its holder."""
    return json.dumps({"process": process, "host": os.uname().nodename})


def test_asking_for_a_lock_neither_takes_it_nor_trusts_a_dead_holder(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    assert not locks.is_held(path)
    with locks.held(path, "it"):
        assert locks.is_held(path)
    path.write_text(holder(os.getpid()))  # left by one whose number is now this process's
    assert not locks.is_held(path)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    path.write_text(holder(child.pid))
    assert not locks.is_held(path)
    monkeypatch.setattr("fcntl.flock", lambda *_: pytest.fail("another may be taking it now"))
    assert not locks.is_held(path)
