"""Orbax checkpoints of a run: asynchronous, the latest few and the best, each whole or absent.

With several processes each writes its part, so that all of them call every method that saves, waits or restores.

The best has the lowest held-out loss on the longest rows that were evaluated: losses of two lengths do
not compare.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from bert_jax.errors import UserError
from bert_jax.training import processes
from bert_jax.training.state import TrainState

_PARAMS, _REST = "params", "training"  # two items, so that an export reads only the parameters


class Checkpoints:
    """The checkpoints under `directory`, named by step. Use as a context manager: leaving waits for writes."""

    def __init__(self, directory: Path, *, keep: int = 1, read_only: bool = False):
        policy = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(keep),
                checkpoint_managers.BestN(
                    get_metric_fn=_rank,
                    reverse=True,  # the best comes last, and the last of the list is kept
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        self.directory = directory
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            item_names=(_PARAMS, _REST),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                best_fn=_rank,
                best_mode="min",
                create=not read_only,
                read_only=read_only,
                cleanup_tmp_directories=not read_only,
            ),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: Any) -> None:
        if exception != (None, None, None) and not processes.is_alone():
            return  # what another process has to finish first may never be
        try:
            with self._one_line(None):
                self._manager.close()
        except UserError:
            if exception == (None, None, None):  # never hide the first error behind a second
                raise

    def latest(self) -> int | None:
        """Step of the newest whole checkpoint."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Step of the best checkpoint, of those evaluated."""
        return self._manager.best_step()

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def choose(self, which: str) -> int:
        """The step that "last", "best" or a number names.

        Raises:
          UserError: there is no such checkpoint.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"no checkpoint in {self.directory}: the run saved none yet")
        named = {"last": self.latest(), "best": self.best()}
        if which in named:
            step = named[which]
            return steps[-1] if step is None else step
        if not which.isdecimal() or int(which) not in steps:
            raise UserError(
                f"no checkpoint {which!r} in {self.directory}: there are last, best, {', '.join(map(str, steps))}"
            )
        return int(which)

    def save(self, state: TrainState, *, evaluation: Mapping[str, float] | None = None) -> None:
        """Starts writing `state`; returns once it is copied off the device.

        `evaluation` holds the held-out means and their `sequence_length` if they were taken at this very
        step.
        """
        step = int(state.step)
        processes.heartbeat(f"checkpoint {step}")
        with self._one_line(step):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{
                        _PARAMS: ocp.args.StandardSave(state.params),
                        _REST: ocp.args.StandardSave(_rest(state)),
                    }
                ),
                metrics=dict(evaluation) if evaluation else None,
                force=True,
            )
        processes.heartbeat(f"step {step + 1}")

    def wait(self) -> None:
        """Returns when everything saved is on disk."""
        processes.heartbeat("the checkpoints being written")
        with self._one_line(None):
            self._manager.wait_until_finished()

    def check(self) -> None:
        """Raises what a write in the background met."""
        with self._one_line(None):
            self._manager.check_for_errors()

    def restore(self, abstract: TrainState, step: int) -> TrainState:
        """The state saved at `step`, placed as the leaves of `abstract` (shapes, types, shardings) say."""
        processes.heartbeat(f"checkpoint {step} to be read")
        with self._one_line(step, "read"):
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    **{
                        _PARAMS: ocp.args.StandardRestore(abstract.params),
                        _REST: ocp.args.StandardRestore(_rest(abstract)),
                    }
                ),
            )
        return TrainState(params=restored[_PARAMS], **restored[_REST])

    def restore_params(self, abstract: Any, step: int) -> Any:
        """Only the parameters saved at `step`."""
        with self._one_line(step, "read"):
            args = ocp.args.Composite(**{_PARAMS: ocp.args.StandardRestore(abstract)})
            return self._manager.restore(step, args=args)[_PARAMS]

    @contextlib.contextmanager
    def _one_line(self, step: int | None, verb: str = "written") -> Iterator[None]:
        """Orbax and tensorstore report disks in many types of exception; the user gets one line."""
        try:
            yield
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            text = str(error)
            reason = next((known for known in _DISK_FAULTS if known in text), text.strip().split("\n")[0])
            which = "a checkpoint" if step is None else f"checkpoint {step}"
            raise UserError(
                f"{which} in {self.directory} could not be {verb}: {reason[:300]};"
                " earlier checkpoints are whole, the same command resumes from the last"
            ) from error


def _rank(metrics: Mapping[str, float]) -> Any:
    """What is lowest for the best checkpoint."""
    return -metrics["sequence_length"], metrics["loss"]


_DISK_FAULTS = ("No space left on device", "Read-only file system", "Permission denied", "File too large")


def _rest(state: TrainState) -> dict[str, Any]:
    names = ("step", "opt_state", "window", "failed_step", "seed")
    return {name: getattr(state, name) for name in names}
