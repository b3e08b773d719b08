"""How a process ends because of an error, and how the others learn of it.

jax's client cannot be shut down while another process is dead or silent: it would wait for it, or abort with a
stack trace. So a process that cannot go on prints one line, tells the others, and ends by `os._exit`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from bert_jax.errors import exit_status, summary
from bert_jax.training.processes.connection import client
from bert_jax.training.processes.failures import failure_of_another
from bert_jax.training.processes.membership import UNLIMITED, Member

_LOG = logging.getLogger(__name__)
_GRACE = 3.0
"""seconds for an action before the exit, and for the reason of another process's end to arrive"""
_FAILED_KEY = "bert_jax/failed"
"""key of the coordination service: the index of the process that failed; empty when all have finished"""
_PREFIX = "bert-jax: "


def abort_for(error: BaseException, member: Member) -> NoReturn:
    """Ends this process because of `error`, which the other processes do not raise."""
    if reason := failure_of_another(error):
        time.sleep(_GRACE)  # the other may have reported why it ended: then another thread ends this process
        abort_for_another(f"lost another process while waiting for {member.waiting_for} ({reason})", member)
    text = summary(error)
    if text is not None:
        _LOG.debug("traceback:", exc_info=error)
    line = "".join(traceback.format_exception(error)) if text is None else _PREFIX + text
    _exit(line, exit_status(error), member, tell_others=True)


def abort_for_another(reason: str, member: Member) -> NoReturn:
    """Ends this process because another one died, is silent or did not start."""
    group = member.group
    line = f"{_PREFIX}process {group.index} of {group.count}: {reason}. {_how_to_resume(member)}"
    _exit(line, 1, member)


def release_listeners() -> None:
    """Ends the threads of `listen_for_failures` in all processes: no failure will follow."""
    client().key_value_set(_FAILED_KEY, "")


def listen_for_failures(member: Member) -> None:
    """Starts a thread that ends this process when another one reports a failure."""

    def listen() -> None:
        # Any exception means that the service is lost, which the connection's proxy reports.
        with contextlib.suppress(Exception):
            index = client().blocking_key_value_get(_FAILED_KEY, UNLIMITED * 1000)
            if index and not member.is_over:
                group = member.group
                _exit(
                    f"{_PREFIX}process {group.index} of {group.count} ends: process {index} failed and printed why",
                    1,
                    member,
                )

    threading.Thread(target=listen, name="failures", daemon=True).start()


def watch_connection(member: Member) -> None:
    """Starts a thread that ends this process when its proxy reports that process 0 closed the connection."""
    assert member.proxy and member.proxy.stdout
    stdout = member.proxy.stdout

    def watch() -> None:
        if stdout.readline().strip() == b"lost" and not member.is_over:
            time.sleep(_GRACE / 3)  # a failure that process 0 reported last is handled first
            abort_for_another(f"lost process 0 while waiting for {member.waiting_for}", member)

    threading.Thread(target=watch, name="connection", daemon=True).start()


def _exit(line: str, status: int, member: Member, *, tell_others: bool = False) -> NoReturn:
    """Prints `line` and ends the process at once. Of several threads only the first does."""
    if not member.abort_lock.acquire(blocking=False):
        threading.Event().wait()  # for ever: the other thread ends the process
    member.is_over = True
    below_the_bar = "\n" if member.group.index == 0 and member.watchdog else ""
    with contextlib.suppress(OSError, ValueError):  # a closed or broken pipe
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        print(below_the_bar + line, file=sys.stderr, flush=True)
    if action := member.abort_action:
        _run_for_at_most(_GRACE, lambda: action(status, line.removeprefix(_PREFIX)))
    if tell_others:
        _run_for_at_most(_GRACE, lambda: client().key_value_set(_FAILED_KEY, str(member.group.index)))
        if member.group.index == 0:  # the service that delivers it runs in this process
            time.sleep(_GRACE / 3)
    os._exit(status)


def _how_to_resume(member: Member) -> str:
    """Names the last checkpoint, if its folder can be listed soon: a disk that hangs may be the cause."""
    folder = member.checkpoints
    if folder is None:
        return "Nothing was trained"
    steps: list[int] = []
    _run_for_at_most(
        2.0,
        lambda: steps.extend(int(path.name) for path in folder.iterdir() if path.name.isdecimal()),
    )
    if steps:
        return f"The same command resumes from the last checkpoint, step {max(steps)}"
    return "No checkpoint was saved: the same command starts from step 0"


def _run_for_at_most(seconds: float, action: Callable[[], Any]) -> None:
    """Runs `action` in a thread and waits for it, at most `seconds`. What it raises is ignored: the process ends."""

    def run() -> None:
        with contextlib.suppress(Exception):
            action()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
