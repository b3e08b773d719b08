"""SIGTERM and SIGINT, seen after a step; in a run of several processes by all of them after the same step."""

from __future__ import annotations

import contextlib
import signal
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bert_jax.training.processes import group as distributed


class StopSignals(contextlib.AbstractContextManager):
    """Notes the signals for the loop to see; a second SIGINT interrupts as usual.

    Each process may get one at another time, or only one of them. So each step is followed by a maximum over
    the devices of what their processes have noted, dispatched behind the step and read when the step is waited
    for anyway. A lone process asks nobody.
    """

    def __init__(self) -> None:
        self.number = 0
        """what this process got"""
        self.agreed = 0
        """what all of them have to obey, the same at the same step"""
        self._previous: dict[int, Any] = {}
        self._maximum: Any = None

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError):  # not the main thread: leave signals to its owner
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def start_vote(self, after: Any) -> Any:
        """Sends this process's note behind the computation of `after`, an array; returns the question."""
        if distributed.is_alone():
            return None
        mesh = Mesh(after.sharding.mesh.devices.ravel(), ("all",))
        if self._maximum is None:
            # The second argument is not used: the question is put on the devices after what it comes from.
            self._maximum = jax.jit(
                lambda noted, after: noted.max(),
                out_shardings=NamedSharding(mesh, PartitionSpec()),
                keep_unused=True,
            )
        noted = np.full(len(mesh.local_devices), self.number, np.int32)
        rows = NamedSharding(mesh, PartitionSpec("all"))
        return self._maximum(jax.make_array_from_process_local_data(rows, noted), after)

    def read_vote(self, question: Any) -> None:
        """Waits for the answer to `ask`, and sets `agreed`."""
        self.agreed = self.number if question is None else int(question)

    def _note(self, number: int, frame: Any) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
