"""A timeout between two signs of progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Watchdog:
    """A thread that calls `expired(what was waited for)` once if `heartbeat` is not called for `timeout` seconds.

    It also runs while the main thread waits in C++, which releases the interpreter's lock.
    """

    def __init__(self, timeout: float, expired: Callable[[str], None]) -> None:
        self._timeout, self._expired = timeout, expired
        self._last = (time.monotonic(), "the start")
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def heartbeat(self, next_wait: str) -> None:
        """Restarts the timeout; `next_wait` names what is waited for from now on."""
        self._last = (time.monotonic(), next_wait)

    @property
    def waiting_for(self) -> str:
        return self._last[1]

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            since, what = self._last
            left = since + self._timeout - time.monotonic()
            if left <= 0:
                self._expired(what)
                return
            if self._closed.wait(left):
                return
