"""Signals handled and deferred for the length of a block, and the handlers before restored."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bert_jax import signals

NUMBERS = [signal.SIGINT, signal.SIGTERM]


class Stop(Exception):
    """What a handler raises."""


@pytest.fixture(autouse=True)
def unchanged():
    """Whatever a test does, the handlers are those before."""
    before = [signal.getsignal(number) for number in NUMBERS]
    yield
    assert [signal.getsignal(number) for number in NUMBERS] == before


@pytest.fixture(params=NUMBERS)
def number(request):
    return request.param


def raise_stop(number, frame):
    raise Stop(number)


def test_both_signals_call_the_handler_with_their_number(number):
    arrived = []
    with signals.handled_by(lambda number, frame: arrived.append(number)):
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert arrived == [number, number]


def test_what_the_handler_raises_ends_the_block(number):
    def block():
        with signals.handled_by(raise_stop):
            signal.raise_signal(number)
            pytest.fail("went on")

    with pytest.raises(Stop, match=str(int(number))):
        block()


def test_blocks_nest(number):
    arrived = []
    with signals.handled_by(lambda *_: arrived.append("outer")):
        with signals.handled_by(lambda *_: arrived.append("inner")):
            signal.raise_signal(number)
        signal.raise_signal(number)
    assert arrived == ["inner", "outer"]


def test_a_deferred_signal_is_handled_after_the_block(number):
    done = []

    def block():
        with signals.deferred():
            signal.raise_signal(number)
            done.append("the rest of the block")

    with signals.handled_by(raise_stop), pytest.raises(Stop):
        block()
    assert done == ["the rest of the block"]


def test_of_several_deferred_signals_the_first_is_handled():
    arrived = []
    with signals.handled_by(lambda number, frame: arrived.append(number)), signals.deferred():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert arrived == [signal.SIGTERM]


def test_an_ignored_signal_stays_ignored_and_is_not_deferred(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with signals.deferred():
            assert signal.getsignal(number) is signal.SIG_IGN
            signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_another_thread_leaves_the_handlers_alone():
    found = []

    def work():
        with signals.handled_by(raise_stop), signals.deferred():
            found.extend(signal.getsignal(number) for number in NUMBERS)

    before = [signal.getsignal(number) for number in NUMBERS]
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == before


_CHILD = "import os, time; from bert_jax import signals; signals.end_with({parent}); print(os.getpid(), flush=True); time.sleep(60)"
_PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]).wait()"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells children of their parent's end")
def test_a_process_ends_with_the_one_that_started_it_however_that_ends():
    child = _CHILD.format(parent="os.getppid()")
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, child], stdout=subprocess.PIPE, text=True
    ) as parent:
        number = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while _runs(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(number)


def _runs(number: int) -> bool:
    """Whether a process is there and has not ended; one that has ended stays until its parent asks for its status."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells children of their parent's end")
def test_a_process_whose_parent_has_ended_before_ends_at_once():
    done = subprocess.run(
        [sys.executable, "-c", _CHILD.format(parent=1)], stdout=subprocess.DEVNULL, timeout=30
    )
    assert done.returncode == -signal.SIGTERM
