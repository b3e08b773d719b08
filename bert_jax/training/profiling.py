"""A trace of a few steps, for TensorBoard's profiler and xprof."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import jax

FOLDER = "profile"
_FIRST, _STEPS = 10, 5  # behind compilation and the first batches; enough to see a step's parts repeat
_log = logging.getLogger(__name__)


class Trace:
    """Traces the steps after the tenth of those that a run takes; each process its own devices.

    A context: at its end a trace that is under way is written.
    """

    def __init__(self, workdir: Path):
        self._folder = workdir / FOLDER
        self._taken = 0

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, *_: object) -> None:
        if _FIRST < self._taken <= _FIRST + _STEPS:
            self._end(self._taken - _FIRST)

    def before_step(self, state: Any) -> None:
        """To be called with the state that each step begins with."""
        if self._taken in (_FIRST, _FIRST + _STEPS):
            jax.block_until_ready(state)  # what was dispatched before does not belong to what comes
        if self._taken == _FIRST:
            jax.profiler.start_trace(str(self._folder))
        elif self._taken == _FIRST + _STEPS:
            self._end(_STEPS)
        self._taken += 1

    def _end(self, steps: int) -> None:
        jax.profiler.stop_trace()
        _log.info("a trace of %d steps: tensorboard --logdir %s", steps, self._folder)
