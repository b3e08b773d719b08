"""SIGINT (Ctrl-C) and SIGTERM: handled, or deferred, for the length of a block.

Only the main thread receives signals and may set their handlers. In any other thread these blocks change nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

NUMBERS: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, FrameType | None], object]
"""Called with the number of the signal and the interrupted frame; what it raises is raised there."""


_PR_SET_PDEATHSIG = 1  # of prctl(2)


def end_with(parent: int) -> None:
    """This process gets SIGTERM when `parent`, the process that started it, ends in any way, and ends now if it has.

    On Linux; elsewhere nothing is done.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before
            os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def handled_by(handler: Handler) -> Iterator[None]:
    """Inside the block both signals call `handler`; afterwards the handlers before are back."""
    with _replaced(dict.fromkeys(NUMBERS, handler) if _is_main_thread() else {}):
        yield


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """A signal that arrives inside the block is handled at its end; of several, the first.

    For code that an exception from a handler would leave with a lock taken. Signals that the system handles (it
    ends the process, or ignores them) are not deferred.
    """
    arrived: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Handler] = {}
    if _is_main_thread():
        for number in NUMBERS:
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
    try:
        with _replaced(
            {number: lambda *signal_and_frame: arrived.append(signal_and_frame) for number in handlers}
        ):
            yield
    finally:
        for number, frame in arrived[:1]:
            handlers[number](number, frame)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def _replaced(handlers: dict[int, Handler]) -> Iterator[None]:
    before = {}
    try:
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, previous in before.items():
            # None: one that C code set, which Python cannot set again.
            signal.signal(number, signal.SIG_DFL if previous is None else previous)
