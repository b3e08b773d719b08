"""Which steps are traced, and that a trace is one."""

import jax
import jax.numpy as jnp
import pytest

from bert_jax.training import profiling


@pytest.fixture
def calls(monkeypatch):
    """The number of steps taken when a trace started and ended."""
    found = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: found.append(("start", folder)))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: found.append(("stop",)))
    return found


def test_five_steps_after_the_tenth_are_traced(calls, tmp_path):
    marks = []
    with profiling.Trace(tmp_path) as trace:
        for step in range(20):
            before = len(calls)
            trace.before_step(jnp.float32(step))
            marks += [step] * (len(calls) - before)
    assert calls == [("start", str(tmp_path / "profile")), ("stop",)]
    assert marks == [10, 15]


@pytest.mark.parametrize(("steps", "expected"), [(10, []), (11, ["start", "stop"]), (15, ["start", "stop"])])
def test_a_run_that_ends_before_ends_its_trace(steps, expected, calls, tmp_path):
    with profiling.Trace(tmp_path) as trace:
        for step in range(steps):
            trace.before_step(jnp.float32(step))
    assert [name for name, *_ in calls] == expected


@pytest.mark.slow
def test_a_trace_is_what_tensorboard_opens(tmp_path):
    with profiling.Trace(tmp_path) as trace:
        for _ in range(16):
            trace.before_step(jnp.ones(8).sum())
    [file] = tmp_path.glob("profile/plugins/profile/*/*.xplane.pb")
    assert file.stat().st_size > 0
