"""Applies a function to many tasks, in this process or in several, with few tasks under way at once."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from bert_jax import signals
from bert_jax.errors import UserError

Task = TypeVar("Task")

_LONGEST_DELAY = 0.2  # seconds that a signal waits at most


def each(function: Callable[[Task], object], tasks: Iterable[Task], *, processes: int) -> Generator[None]:
    """Applies `function` to every task; yields as often as one is done, in whatever order.

    `processes` > 1 takes a picklable function, and a program that may be imported again (the usual `if __name__ ==
    "__main__"`): workers are spawned, because TensorFlow's threads do not survive a fork. Tasks are taken from the
    iterable only as workers come free.

    Raises:
      UserError: a worker process was killed. And whatever `function` raises.
    """
    if processes <= 1:
        for task in tasks:
            function(task)
            yield
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker
    )
    under_way: set[concurrent.futures.Future] = set()
    # Signals are deferred around each call: inside `concurrent.futures`, an exception from their handler would leave
    # a lock taken, for which the pool then waits forever.
    try:
        for task in tasks:
            while len(under_way) >= processes + 2:
                yield from _finished(under_way)
            with signals.deferred():
                under_way.add(pool.submit(function, task))
        while under_way:
            yield from _finished(under_way)
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed, most often for lack of memory: run the same command again, which continues"
            f" from there, with --processes below {processes}"
        ) from None
    finally:
        with signals.deferred():
            pool.shutdown(cancel_futures=True)


def _finished(under_way: set[concurrent.futures.Future]) -> Iterator[None]:
    """Waits for a while; removes the tasks that are done."""
    with signals.deferred():
        done, _ = concurrent.futures.wait(
            under_way, timeout=_LONGEST_DELAY, return_when=concurrent.futures.FIRST_COMPLETED
        )
        for future in done:
            under_way.remove(future)
            future.result()
    for _ in done:
        yield


def _begin_worker() -> None:
    """A worker uses one core, leaves Ctrl-C to its parent, and does not outlive it."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
