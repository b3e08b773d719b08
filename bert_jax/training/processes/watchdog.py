"""Ends a process that waits too long for the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Watchdog:
    """A thread that calls `expired(what was waited for)` once, if `fed` was not called for `timeout` seconds.

    Waits in C++ do not keep it from running: they leave Python's lock.
    """

    def __init__(self, timeout: float, expired: Callable[[str], None]):
        self._timeout, self._expired = timeout, expired
        self._last = (time.monotonic(), "the start")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def fed(self, next_wait: str) -> None:
        """Something finished; what is waited for now is `next_wait`."""
        self._last = (time.monotonic(), next_wait)

    @property
    def waiting_for(self) -> str:
        return self._last[1]

    def close(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            since, what = self._last
            left = since + self._timeout - time.monotonic()
            if left <= 0:
                self._expired(what)
                return
            if self._over.wait(left):
                return
