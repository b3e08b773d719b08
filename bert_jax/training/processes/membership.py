"""This process as a member of the group that trains together; a lone process passes through all of this."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from bert_jax.errors import UserError
from bert_jax.training.processes import connection
from bert_jax.training.processes.discovery import ProcessGroup
from bert_jax.training.processes.watchdog import Watchdog

UNLIMITED = 7 * 24 * 3600
"""seconds; jax's own timeouts end a process by abort(), so they must never expire before the watchdog's"""

_Error = TypeVar("_Error", bound=UserError)


@dataclasses.dataclass(kw_only=True)
class Member:
    """This process in its group."""

    group: ProcessGroup
    proxy: subprocess.Popen | None = None
    """of the connection to process 0; None in process 0"""
    watchdog: Watchdog | None = None
    checkpoints: Path | None = None
    """where the run saves; None before `session`"""
    agreed: BaseException | None = None
    """an error that every process raises"""
    abort_action: Callable[[int, str], object] | None = None
    """see `on_abort`"""
    is_over: bool = False
    """the session has ended: this process waits for no other, and what they do no longer ends it"""
    abort_lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    barrier_numbers: Iterator[int] = dataclasses.field(default_factory=itertools.count)

    @property
    def waiting_for(self) -> str:
        return self.watchdog.waiting_for if self.watchdog else "the start"


_member: Member | None = None


def enter(group: ProcessGroup) -> Member:
    """Makes this process a member of `group`."""
    global _member
    _member = Member(group=group)
    return _member


def current() -> Member | None:
    """This process's membership; None if it is alone."""
    return _member


def is_first() -> bool:
    """Whether this process writes files and prints; a lone process does."""
    return _member is None or _member.group.index == 0


def is_alone() -> bool:
    """Whether the run has no other process."""
    return _member is None


def heartbeat(next_wait: str) -> None:
    """Reports progress to the watchdog; `next_wait` names what is waited for from now on ("step 7")."""
    if _member and _member.watchdog:
        _member.watchdog.heartbeat(next_wait)


def on_abort(action: Callable[[int, str], object]) -> None:
    """Registers `action(exit status, reason)`, called if an error ends this process without an exception.

    It has a few seconds. A lone process always raises, so there it is never called.
    """
    if _member:
        _member.abort_action = action


def raised_everywhere(error: _Error) -> _Error:
    """Marks an error that every process raises at the same place, so that `session` does not report it to them."""
    if _member:
        _member.agreed = error
    return error


def barrier(name: str) -> None:
    """Returns once every process has called it. The order of barriers must be the same in all of them."""
    if _member and not _member.is_over:
        heartbeat(f"the other processes at {name!r}")
        # Not multihost_utils.sync_global_devices: that is a collective of the devices, whose transport has timeouts
        # of its own (gloo connects within 30 s). One process may work for minutes before this barrier, so only the
        # watchdog may end the wait.
        number = next(_member.barrier_numbers)
        connection.client().wait_at_barrier(f"bert_jax/{number}/{name}", UNLIMITED * 1000)
        heartbeat(f"what follows {name!r}")
