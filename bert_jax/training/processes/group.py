"""A run by several processes: how they begin, wait for each other, and end, together or not.

Every process runs the same program on its own devices and rows; process 0 alone writes and speaks. Nobody waits
for ever: whoever sees nothing finish for config.parallel.timeout seconds gives up, an error that one process
meets ends all, and one that dies is noticed by the others. A lone process passes through all of this at no cost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax

from bert_jax.errors import UserError
from bert_jax.training.processes import coordinator_proxy as relay
from bert_jax.training.processes import discovery as cluster
from bert_jax.training.processes.discovery import Given, Group
from bert_jax.training.processes.watchdog import Watchdog

_WAIT = 300
"""seconds in which all processes of a run must come"""
_FAREWELL = 3.0
"""seconds in which the others learn why a process ended"""
_FOREVER = 7 * 24 * 3600
"""seconds; jax's own heartbeats end a process by abort(), so ours come first"""
_FAILED, _PREFIX = "bert_jax/failed", "bert-jax: "


@dataclasses.dataclass(kw_only=True)
class _Member:
    """This process in its group."""

    group: Group
    relay: subprocess.Popen | None = None
    watchdog: Watchdog | None = None
    checkpoints: Path | None = None
    agreed: BaseException | None = None
    """an error that every process raises alike"""
    farewell: Callable[[int, str], None] | None = None
    """what is to be done when this process ends at once; see `at_end`"""
    over: bool = False
    """nobody is waited for any more, whatever they do"""
    ending: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    names: Iterator[int] = dataclasses.field(default_factory=itertools.count)


_member: _Member | None = None


def start(given: Given | None, *, wait: float = _WAIT) -> None:
    """Joins the processes that train together, if there are others. Call before any device is touched.

    given: the processes as flags name them; None: as Slurm, Open MPI, a TPU pod or Kubernetes name them.

    Raises:
      UserError: process 0 cannot be reached, or its port is taken. Where others do not come within `wait`
        seconds, the process ends.
    """
    global _member
    group = cluster.find(given, os.environ)
    if group is None:
        return
    _member = member = _Member(group=group)
    address = group.coordinator
    if group.index == 0:
        _check_port_is_free(address)
    else:
        _reach(address, wait)
        member.relay = _start_relay(address)
        assert member.relay.stdout
        address = f"127.0.0.1:{int(member.relay.stdout.readline())}"
        threading.Thread(target=_hear_relay, name="relay", daemon=True).start()
    _pass_by_web_proxies(address.rpartition(":")[0])
    member.watchdog = Watchdog(
        wait, lambda _: _give_up(f"not all {group.count} came to {group.coordinator} within {wait:g} s")
    )
    jax.distributed.initialize(
        address,
        group.count,
        group.index,
        local_device_ids=group.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=_FOREVER,
        heartbeat_timeout_seconds=_FOREVER,
        shutdown_timeout_seconds=_FOREVER,
    )
    member.watchdog.close()
    member.watchdog = None
    threading.Thread(target=_hear_failures, name="failures", daemon=True).start()


def is_first() -> bool:
    """Whether this process is the one that writes and speaks; a lone one is."""
    return _member is None or _member.group.index == 0


def is_alone() -> bool:
    """Whether no other process takes part."""
    return _member is None


def fed(next_wait: str) -> None:
    """Something finished: the watchdog counts from now, and knows what is waited for."""
    if _member and _member.watchdog:
        _member.watchdog.fed(next_wait)


def at_end(action: Callable[[int, str], None]) -> None:
    """Has `action` called with exit status and reason where an error ends this process at once, without an exception.

    It gets a few seconds. A lone process raises, and needs none of this.
    """
    if _member:
        _member.farewell = action


def barrier(name: str) -> None:
    """Returns when every process is here."""
    if _member and not _member.over:
        fed(f"the others at {name!r}")
        _client().wait_at_barrier(f"bert_jax/{next(_member.names)}/{name}", _FOREVER * 1000)
        fed(f"what comes after {name!r}")


def met_by_all(error: UserError) -> UserError:
    """Notes that every process raises this error at this place, so that none need be told."""
    if _member:
        _member.agreed = error
    return error


@contextlib.contextmanager
def session(*, timeout: float, checkpoints: Path) -> Iterator[None]:
    """What a run does in every process, under a watchdog. Ends what `start` began: afterwards each is alone.

    An error that this process alone meets is printed here, told to the others, and ends the process: without
    them it cannot leave jax in good order.
    """
    if _member is None:
        yield
        return
    member, member.checkpoints = _member, checkpoints
    member.watchdog = Watchdog(
        timeout,
        lambda what: _give_up(
            f"nothing finished for {timeout:g} s (config.parallel.timeout), waiting for {what}"
        ),
    )
    try:
        yield
    except BaseException as error:
        if error is not member.agreed:
            _leave(error)
        _finish(member)
        raise
    _finish(member)


def _finish(member: _Member) -> None:
    """All leave together: jax's service ends when each has said so."""
    barrier("the end")
    member.over = True
    if member.group.index == 0:
        _client().key_value_set(_FAILED, "")  # releases those that listen
    jax.distributed.shutdown()
    if member.relay:
        member.relay.kill()
        member.relay.wait()
    if member.watchdog:
        member.watchdog.close()
        member.watchdog = None


def _leave(error: BaseException) -> NoReturn:
    """Ends this process for an error that the others do not meet, or that is another's death."""
    if isinstance(error, Exception) and (reason := _death_of_another(error)):
        time.sleep(_FAREWELL)  # it may have said why; then that is printed, by the thread that hears of it
        waited = _member.watchdog.waiting_for if _member and _member.watchdog else ""
        _give_up(f"another process is gone, waiting for {waited} ({reason})")
    status, text = 1, ""
    if isinstance(error, UserError):
        status, text = error.exit_status, str(error)
    elif isinstance(error, OSError):
        place = f": {error.filename}" if error.filename else ""
        text = f"{error.strerror or error}{place}"
    elif isinstance(error, KeyboardInterrupt):
        status, text = 130, "interrupted"
    _end(_PREFIX + text if text else "".join(traceback.format_exception(error)), status, tell=True)


_SIGNS = (
    "gloo",
    "nccl",
    "barrier",
    "coordination",
    "connection",
    "deadline_exceeded",
    "unavailable",
    "socket",
)


def _death_of_another(error: BaseException) -> str:
    """The first line of what a collective or jax's service says of a peer; empty for any other error."""
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).strip()
        ours = isinstance(cause, (UserError, OSError))
        if not ours and text and any(sign in text.lower() for sign in _SIGNS):
            return text.splitlines()[0][:160]
        cause = cause.__cause__
    return ""


def _give_up(what: str) -> NoReturn:
    """Ends this process because of another."""
    assert _member
    group = _member.group
    _end(f"{_PREFIX}process {group.index} of {group.count}: {what}. {_how_to_go_on()}", 1)


def _how_to_go_on() -> str:
    """Looks for the last checkpoint, but not for long: its disk may be what is silent."""
    if _member is None or _member.checkpoints is None:
        return "Nothing was trained"
    folder = _member.checkpoints
    found: list[int] = []

    def look() -> None:
        found.extend(int(path.name) for path in folder.iterdir() if path.name.isdecimal())

    _for_at_most(2.0, look)
    if found:
        return f"The same command resumes from the last checkpoint, step {max(found)}"
    return "No checkpoint was saved: the same command starts anew"


def _end(line: str, status: int, *, tell: bool = False) -> NoReturn:
    """Prints `line` and ends the process at once, whichever thread is first; `tell`: the others as well.

    Without the others, Python's own end could hang in jax's shutdown, or abort there.
    """
    assert _member
    if not _member.ending.acquire(blocking=False):
        threading.Event().wait()  # another thread is ending it
    _member.over = True
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    below_the_bar = "\n" if is_first() and _member.watchdog else ""
    with contextlib.suppress(Exception):
        print(below_the_bar + line, file=sys.stderr, flush=True)
    if farewell := _member.farewell:
        _for_at_most(_FAREWELL, lambda: farewell(status, line.removeprefix(_PREFIX)))
    if tell:
        _for_at_most(_FAREWELL, lambda: _client().key_value_set(_FAILED, str(_member.group.index)))
        if _member.group.index == 0:  # whose service tells them
            time.sleep(_FAREWELL / 3)
    os._exit(status)


def _hear_failures() -> None:
    """Waits for another process to say that it ended the run."""
    assert _member
    with contextlib.suppress(Exception):  # the service is gone: noticed elsewhere
        who = _client().blocking_key_value_get(_FAILED, _FOREVER * 1000)
        if who and not _member.over:
            group = _member.group
            line = f"process {group.index} of {group.count} ends: process {who} met an error and says which"
            _end(_PREFIX + line, 1)


def _hear_relay() -> None:
    """Waits for the coordinator to be gone."""
    assert _member and _member.relay and _member.relay.stdout
    if _member.relay.stdout.readline().strip() == b"lost" and not _member.over:
        time.sleep(_FAREWELL / 3)  # what it said last comes first
        waited = _member.watchdog.waiting_for if _member.watchdog else "the start"
        _give_up(f"process 0 is gone, waiting for {waited}")


def _for_at_most(seconds: float, action: Callable[[], Any]) -> None:
    def act() -> None:
        with contextlib.suppress(Exception):
            action()

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds)


def _client() -> Any:
    """jax's connection to the coordinator: keys, values and barriers. jax has no public door to it."""
    from jax._src import distributed

    return distributed.global_state.client


def _start_relay(address: str) -> subprocess.Popen:
    host, _, port = address.rpartition(":")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", relay.__file__, host.strip("[]"), port],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _pass_by_web_proxies(host: str) -> None:
    """gRPC asks them for every host that is not named; jax warns of any such variable."""
    if any(name.lower() in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy") for name in os.environ):
        for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
            os.environ[name] = ",".join(filter(None, (os.environ.get(name), host)))
    logging.getLogger("jax._src.distributed").setLevel(logging.ERROR)


def _check_port_is_free(address: str) -> None:
    port = int(address.rpartition(":")[2])
    try:
        with socket.create_server(("", port)):
            pass
    except OSError as error:
        raise UserError(f"process 0 cannot listen on port {port} of {address}: {error.strerror}") from None


def _reach(address: str, wait: float) -> None:
    """Returns when process 0 listens. Refusals and names that are unknown yet are tried again."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + wait
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=min(10.0, wait)):
                return
        except OSError as error:
            if time.monotonic() > end:
                raise UserError(
                    f"no process 0 at {address} within {wait:g} s ({error.strerror or error}): it must run there,"
                    " and its port be open to this machine"
                ) from None
            time.sleep(0.5)
