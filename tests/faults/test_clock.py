"""A clock that is set, hours back or forward, while something runs: durations, rates and order do not follow it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time

import pytest

from bert_jax.commands import pretrain
from bert_jax.config import LogConfig
from bert_jax.progress import bar
from bert_jax.sweeps import local, store, trials
from bert_jax.sweeps.reporting.results import gather
from bert_jax.training.metrics import read_metrics
from tests.runs import CLOCK, assert_same_run
from tests.sweeps.plans import make_plan
from tests.sweeps.reporting import finished_sweep
from tests.training.test_sinks import scalars, write

HOUR = 3600.0
_NOW = time.time


class Clock:
    """The clock of the day, set `ahead` of the machine's by so many seconds."""

    ahead = 0.0

    def time(self) -> float:
        return _NOW() + self.ahead


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.time", clock.time)
    monkeypatch.setattr("tqdm.std.time", clock.time)  # imported by its name
    return clock


def test_a_bar_goes_on(clock):
    with bar(description="x", total=10) as progress:
        progress.mininterval = 0.005
        for count, ahead in enumerate((0, -5 * HOUR, 7 * HOUR, -HOUR), 1):
            clock.ahead = ahead
            time.sleep(0.01)
            progress.update()
            assert progress.last_print_n == count  # it is drawn
            assert 0 < progress.format_dict["elapsed"] < 60


@pytest.mark.parametrize("set_by", [0.0, -5 * HOUR, 7 * HOUR])
def test_event_files_are_read_in_the_order_of_their_runs(clock, tmp_path, set_by):
    write(tmp_path, LogConfig())
    clock.ahead = set_by
    write(tmp_path, LogConfig(), resume_step=2, steps=(3, 4))
    assert scalars(tmp_path / "tensorboard") == pytest.approx({1: 1.0, 2: 1 / 2, 3: 1 / 3, 4: 1 / 4})


def test_the_hours_of_a_trial_are_those_that_it_took(clock, tmp_path):
    noted, killed, _ = finished_sweep.write(tmp_path, seeds=(0,), rows=200).trials
    for trial in (noted, killed):
        (tmp_path / "attempts" / f"{trial.name}.jsonl").unlink()
    for ahead in (-5 * HOUR, 7 * HOUR):
        clock.ahead = 0
        with trials.attempt(tmp_path, noted):
            clock.ahead = ahead
    for note in ({"began": _NOW()}, {"ended": _NOW() - 5 * HOUR, "status": 143, "reason": "killed"}):
        trials._record(tmp_path, killed, **note)  # an end that another process noted
    hours = {result.trial.name: result.cost.wall_hours for result in gather(tmp_path).trials if result.cost}
    assert 0 < hours[noted.name] < 0.01
    assert hours[killed.name] is None


def test_a_trial_of_another_machine_still_runs_where_our_clock_is_set_back(clock, tmp_path):
    """To take it for one that ended would start it a second time in its workdir."""
    plan = make_plan(seeds=(0,))
    store.claim(tmp_path, plan)
    trials._record(tmp_path, plan.trials[0], began=_NOW(), host="elsewhere", process=1, job=None)
    for ahead in (0, -5 * HOUR):
        clock.ahead = ahead
        assert trials.trial_state(tmp_path, plan.trials[0]).status == "running"


def test_a_trial_that_logs_does_not_stall_whatever_the_time_of_its_files(clock, tmp_path):
    plan = make_plan(seeds=(0,))
    store.claim(tmp_path, plan)
    metrics = trials.workdir(tmp_path, plan.trials[0]) / "metrics.jsonl"
    metrics.parent.mkdir(parents=True)
    metrics.touch()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        one = local._Running(plan.trials[0], local.Slot({}), child, changed=time.monotonic() - 100)
        for ahead in (-5 * HOUR, 7 * HOUR, -HOUR):
            clock.ahead = ahead
            os.utime(metrics, (_NOW() + ahead,) * 2)
            one.changed = time.monotonic() - 100
            local._kill_if_stalled(tmp_path, one, stall=60.0)
            assert child.poll() is None
        assert child.stdin is not None
        child.stdin.write(b"\n")


@pytest.mark.slow
def test_a_run_is_the_same(prepared, straight, tmp_path, monkeypatch):
    """The clock is set back at every reading. Forward it is not: Orbax measures by it how long a save takes, and gives up."""
    calls = itertools.count()

    def jumping() -> float:
        return _NOW() - next(calls) * HOUR

    monkeypatch.setattr("time.time", jumping)
    monkeypatch.setattr("tqdm.std.time", jumping)
    pretrain.run(prepared, tmp_path / "run")
    assert next(calls) > 10
    monkeypatch.undo()
    assert_same_run(tmp_path / "run", straight)
    for line in read_metrics(tmp_path / "run" / "metrics.jsonl"):
        assert all(line[name] > 0 for name in CLOCK & line.keys())
