"""Rates of calls that take turns, and a function in a process of its own."""

import json
import os
import signal
import time

import pytest

from bert_jax.benchmarks import timing
from bert_jax.errors import UserError


def test_calls_take_turns_and_the_slow_one_is_slower():
    order = []

    def call(name, seconds):
        order.append(name)
        time.sleep(seconds)

    calls = {"fast": lambda: call("fast", 0.002), "slow": lambda: call("slow", 0.01)}
    rates = timing.calls_per_second(calls, seconds=0.05, repeats=3)
    assert rates["fast"] > 2 * rates["slow"] > 0
    turns = [name for place, name in enumerate(order) if place == 0 or order[place - 1] != name]
    assert turns == ["fast", "slow"] * 4  # two calls of each first, then three measurements


def _process(add: int) -> tuple[int, str]:
    return os.getpid() + add, os.environ["MEASURED"]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_function_is_measured_in_a_process_of_its_own_with_its_environment():
    number, variable = timing.in_a_new_process({"MEASURED": "yes"}, _process, 0)
    assert number != os.getpid() and variable == "yes"
    assert "MEASURED" not in os.environ


def test_a_measured_process_that_is_killed_is_one_line():
    with pytest.raises(UserError, match="_die was killed"):
        timing.in_a_new_process({}, _die)


def test_the_last_line_printed_is_json_of_the_values(capsys):
    values = {"rows_per_s": 12345.678, "batch": [8, 32], "model": "bert-tiny"}
    timing.print_result("title", values)
    *shown, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == values
    assert shown[0].strip() == "title" and "1.235e+04" in "".join(shown)
