"""SIGTERM and SIGINT as a flag that the training loop reads; several processes obey after the same step."""

from __future__ import annotations

import contextlib
import signal
from typing import Any

from bert_jax import signals
from bert_jax.training.processes.membership import is_alone


class StopSignals(contextlib.AbstractContextManager):
    """Records SIGTERM and SIGINT for the loop to read; a second SIGINT raises KeyboardInterrupt.

    The processes of a run may receive a signal at different times, or only one of them may. So every step is
    followed by a vote: the maximum over all devices of the signal numbers their processes have recorded. It is
    dispatched behind the step and read when the step is waited for anyway. A lone process needs no vote.
    """

    def __init__(self) -> None:
        self.number = 0
        """the signal that this process received; 0: none"""
        self.agreed = 0
        """the signal that all processes obey, the same at the same step; 0: none"""
        self._handlers = contextlib.ExitStack()
        self._maximum: Any = None

    def __enter__(self) -> StopSignals:
        self._handlers.enter_context(signals.handled_by(self._record))
        return self

    def __exit__(self, *exception: object) -> None:
        self._handlers.close()

    def start_vote(self, after: Any) -> Any:
        """Dispatches the vote behind the computation of `after`, a jax array; returns what `read_vote` takes."""
        if is_alone():
            return None
        import jax
        import numpy as np
        from jax.sharding import Mesh, NamedSharding, PartitionSpec

        mesh = Mesh(after.sharding.mesh.devices.ravel(), ("all",))
        if self._maximum is None:
            # `after` is an unused argument: it makes the devices run the vote after the step that computes it.
            self._maximum = jax.jit(
                lambda recorded, after: recorded.max(),
                out_shardings=NamedSharding(mesh, PartitionSpec()),
                keep_unused=True,
            )
        recorded = np.full(len(mesh.local_devices), self.number, np.int32)
        sharding = NamedSharding(mesh, PartitionSpec("all"))
        return self._maximum(jax.make_array_from_process_local_data(sharding, recorded), after)

    def read_vote(self, vote: Any) -> None:
        """Waits for the result of `start_vote`, and sets `agreed`."""
        self.agreed = self.number if vote is None else int(vote)

    def _record(self, number: int, frame: Any) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
