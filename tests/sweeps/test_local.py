"""The local executor: slots of the machine, order, retries, stops. A scripted program stands in for the trials."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bert_jax.errors import Interrupted, UsageError
from bert_jax.sweeps import local, store
from bert_jax.sweeps import trials as records
from bert_jax.sweeps.local import Machine, Slot
from tests.sweeps.plans import make_plan

# Plays a trial without importing anything heavy: S/behaviour/NAME says how, a word an attempt.
STAND_IN = r"""
import json, os, signal, sys, time
from pathlib import Path
S, name = Path(sys.argv[1]), sys.argv[2]
notes = S / "attempts" / (name + ".jsonl")
past = notes.read_text().count("began") if notes.exists() else 0
words = (S / "behaviour" / name).read_text().split() if (S / "behaviour" / name).exists() else ["well"]
word = words[min(past, len(words) - 1)]
def note(**what):
    with notes.open("a") as stream:
        stream.write(json.dumps(what) + "\n")
def stop(*_):
    note(ended=time.time(), status=143, reason="saved")
    sys.exit(143)
note(began=time.time(), host=os.uname().nodename, process=os.getpid(), job=None, cores=len(os.sched_getaffinity(0)),
     environment={k: v for k, v in os.environ.items() if k.startswith(("JAX_C", "CUDA"))})
W = S / "trials" / name
W.mkdir(parents=True, exist_ok=True)
if word == "fail":
    note(ended=time.time(), status=1, reason="the disk is full")
    sys.exit(1)
if word == "config":
    note(ended=time.time(), status=2, reason="config.x must be")
    sys.exit(2)
if word == "crash":
    print("Fatal Python error: out of luck", flush=True)
    sys.exit(1)
if word == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if word == "hang":
    time.sleep(60)
if word == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
if word == "long":
    signal.signal(signal.SIGTERM, stop)
    (W / "metrics.jsonl").write_text('{"step": 1, "split": "train"}\n')
    time.sleep(60)
time.sleep(0.05)
(W / "metrics.jsonl").write_text('{"step": 10, "split": "train", "loss": 1.0, "tokens_per_s": 5.0}\n')
(W / "probes.json").write_text('{"step": 10}')
note(ended=time.time(), status=0, reason="")
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """behaviours -> the folder and trials of a sweep whose trials play them."""
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN)
    monkeypatch.setattr(local, "_POLL", 0.02)
    monkeypatch.setattr(
        local, "command", lambda S, trial: [sys.executable, "-S", str(program), str(S), trial.name]
    )

    def make(**behaviours: str):
        plan, S = make_plan(), tmp_path / "S"
        store.claim(S, plan)
        (S / "behaviour").mkdir()
        for name, words in behaviours.items():
            (S / "behaviour" / name.replace("_", "-")).write_text(words)
        return S, plan.trials

    return make


def run(S, trials, *, slots=(Slot({}),), attempts=3, stall=60.0):
    local.run(S, trials, slots=slots, attempts=attempts, stall=stall)
    return {trial.name: records.trial_state(S, trial) for trial in trials}


def begun(S) -> list[tuple[float, str]]:
    """(time, trial) of every begin, in order of time."""
    notes = [
        (json.loads(line), file.stem)
        for file in S.glob("attempts/*.jsonl")
        for line in file.read_text().splitlines()
    ]
    return sorted((note["began"], name) for note, name in notes if "began" in note)


def test_trials_run_in_order_each_in_a_slot_and_in_the_shared_cache(sweep, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    S, trials = sweep()
    core = min(os.sched_getaffinity(0))
    states = run(S, trials, slots=(Slot({"CUDA_VISIBLE_DEVICES": "7"}, frozenset({core})),))
    assert {state.status for state in states.values()} == {"finished"}
    assert [name for _, name in begun(S)] == [trial.name for trial in trials]
    first = records.read_attempts(S, trials[0])[0]
    assert first["cores"] == 1
    assert first["environment"]["CUDA_VISIBLE_DEVICES"] == "7"
    assert first["environment"]["JAX_COMPILATION_CACHE_DIR"] == str(S / "cache")


def test_as_many_run_at_once_as_there_are_slots(sweep):
    S, trials = sweep()
    run(S, trials, slots=(Slot({}), Slot({})))
    spans = []
    for trial in trials:
        began, ended = records.read_attempts(S, trial)
        spans.append((began["began"], ended["ended"]))
    together = [sum(b < moment < e for b, e in spans) for moment, _ in spans]
    assert max(together) <= 1  # of others, at the beginning of each
    assert any(a[0] < b[0] < a[1] for a in spans for b in spans if a != b)


def test_one_bad_trial_is_tried_again_to_its_bound_and_stops_no_other(sweep, capsys):
    S, trials = sweep(a_seed0="fail", b_seed0="fail well", b_seed1="config")
    states = run(S, trials)
    assert {name: (s.status, s.failures) for name, s in states.items()} == {
        "a-seed0": ("failed", 3),
        "b-seed0": ("finished", 1),
        "a-seed1": ("finished", 0),
        "b-seed1": ("failed", 1),  # a wrong configuration stays wrong
    }
    assert states["a-seed0"].reason == "the disk is full (it never logged a step)"
    said = capsys.readouterr().err
    assert said.count("a-seed0 ended with status 1: the disk is full") == 3
    assert str(S / "logs" / "a-seed0.txt") in said


def test_a_trial_that_could_not_say_why_is_spoken_for(sweep):
    S, trials = sweep(a_seed0="crash", b_seed0="killed well")
    states = run(S, trials, attempts=2)
    assert states["a-seed0"].reason.startswith("Fatal Python error: out of luck")
    assert states["b-seed0"].status == "finished"
    killed = records.read_attempts(S, trials[1])[1]
    assert (killed["status"], killed["reason"]) == (137, "killed by SIGKILL, perhaps because memory ran out")


def test_a_trial_that_never_logs_is_killed_and_the_others_go_on(sweep):
    S, trials = sweep(a_seed0="hang")
    states = run(S, trials, attempts=1, stall=0.5)
    assert states["a-seed0"].status == "failed"
    assert states["a-seed0"].reason.startswith("killed: no line of metrics for 0.00833 minutes (--stall)")
    assert [s.status for s in states.values()].count("finished") == 3


def test_run_again_it_skips_what_is_finished_and_goes_on_with_the_rest(sweep):
    S, trials = sweep(a_seed0="fail")
    run(S, trials, attempts=1)
    (S / "behaviour" / "a-seed0").write_text("well")
    left = [trial for trial in trials if records.trial_state(S, trial).status != "finished"]
    assert [trial.name for trial in left] == ["a-seed0"]
    assert run(S, left)["a-seed0"].status == "finished"
    assert len(begun(S)) == 5


def _in_a_process(S, program: Path, signals: list[int]) -> subprocess.Popen:
    """The executor in a process of its own, which gets each signal once the trial has begun or noted one."""
    text = (
        "import sys\nfrom pathlib import Path\nfrom bert_jax.sweeps import local, store\n"
        f"S = Path({str(S)!r})\nlocal._POLL = 0.02\n"
        f"local.command = lambda S, t: [sys.executable, '-S', {str(program)!r}, str(S), t.name]\n"
        "local.run(S, store.read_plan(S).trials, slots=(local.Slot({}),), attempts=3, stall=60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not begun(S) and time.monotonic() < deadline:
        time.sleep(0.02)
    for number in signals:
        time.sleep(0.3)
        child.send_signal(number)
    return child


@pytest.mark.parametrize(
    ("word", "signals", "states"),
    [
        ("long", [signal.SIGINT], ["interrupted", "waiting", "waiting", "waiting"]),
        ("long", [signal.SIGTERM], ["interrupted", "waiting", "waiting", "waiting"]),
        ("ignore", [signal.SIGINT, signal.SIGINT], ["interrupted", "waiting", "waiting", "waiting"]),
    ],
)
def test_a_stop_saves_and_a_second_kills_and_nothing_is_left_running(sweep, tmp_path, word, signals, states):
    S, trials = sweep(a_seed0=word)
    child = _in_a_process(S, tmp_path / "stand_in.py", signals)
    error = child.communicate(timeout=30)[1]
    assert f"stopped by {signal.Signals(signals[0]).name}" in error
    assert [records.trial_state(S, trial).status for trial in trials] == states
    process = records.read_attempts(S, trials[0])[0]["process"]
    assert not Path(f"/proc/{process}").exists()
    (S / "behaviour" / "a-seed0").write_text("well")
    assert {state.status for state in run(S, trials).values()} == {"finished"}


def test_the_machine_is_divided_by_what_it_has():
    gpus = Machine(gpus=("0", "1", "2", "3"), cores=(0, 1))
    assert [slot.environment for slot in local.slots(None, machine=gpus)] == [
        {"CUDA_VISIBLE_DEVICES": number} for number in "0123"
    ]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in local.slots(2, machine=gpus)] == [
        "0,2",
        "1,3",
    ]
    crowded = local.slots(8, machine=gpus)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in crowded] == list("01230123")
    assert crowded[0].environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] == "0.45"
    chips = local.slots(4, machine=Machine(tpu_chips=4))
    assert [slot.environment["TPU_VISIBLE_CHIPS"] for slot in chips] == list("0123")
    assert local.slots(None, machine=Machine(tpu_chips=4)) == (Slot({}),)
    cores = local.slots(2, machine=Machine(cores=(0, 1, 2, 3)))
    assert [slot.cores for slot in cores] == [{0, 2}, {1, 3}]
    assert local.slots(None, machine=Machine(cores=(0, 1))) == (Slot({}),)


@pytest.mark.parametrize(
    ("jobs", "machine", "fault"),
    [
        (0, Machine(), "--jobs 0 must be >= 1"),
        (3, Machine(cores=(0, 1)), "--jobs 3 must be <= 2, the cores of this machine"),
        (2, Machine(tpu_chips=4), "--jobs 2 must be 1 .* or 4"),
    ],
)
def test_a_division_that_the_machine_does_not_allow_is_refused(jobs, machine, fault):
    with pytest.raises(UsageError, match=fault):
        local.slots(jobs, machine=machine)


def test_what_runs_a_trial_is_one_plain_command(tmp_path):
    plan = make_plan()
    assert local.command(tmp_path, plan.trials[0])[1:] == [
        "-m",
        "bert_jax",
        "trial",
        str(tmp_path),
        "a-seed0",
    ]
    assert Interrupted("", signal.SIGINT).exit_status == 130
