"""Tasks over processes: all are done, few at once, and a dead worker is one line."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time

import pytest

from bert_jax.data.corpus.workers import each
from bert_jax.errors import UserError


def test_one_process_is_this_one():
    done: list[int] = []
    assert len(list(each(done.append, iter([3, 1, 2]), processes=1))) == 3
    assert done == [3, 1, 2]


def test_every_task_is_done_and_few_are_taken_at_once(tmp_path):
    taken: list[float] = []

    def tasks():
        for number in range(12):
            taken.append(len(list(tmp_path.iterdir())))
            yield tmp_path / str(number)

    assert len(list(each(os.mkdir, tasks(), processes=2))) == 12
    assert len(list(tmp_path.iterdir())) == 12
    assert all(number - done <= 4 for number, done in enumerate(taken))


def test_a_killed_worker_is_one_line_and_ends_the_others():
    start = time.monotonic()
    with pytest.raises(UserError, match=r"^a worker process was killed, .* with --processes below 2$"):
        list(each(os._exit, [1], processes=2))
    assert time.monotonic() - start < 60


def test_what_a_task_raises_comes_through(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(each(os.rmdir, [tmp_path / "absent"], processes=2))


class Stop(Exception):
    """What the handler raises."""


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request):
    """A signal whose handler raises."""

    def stop(number, frame):
        raise Stop

    before = signal.signal(request.param, stop)
    yield request.param
    assert signal.signal(request.param, before) is stop


def test_a_signal_ends_the_work_at_once(number):
    def work():
        for count, _ in enumerate(each(time.sleep, itertools.repeat(0.0005), processes=2)):
            if count == 50:
                threading.Timer(0.05, os.kill, (os.getpid(), number)).start()

    with pytest.raises(Stop):
        work()
