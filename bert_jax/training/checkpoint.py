"""Orbax checkpoints of a run: asynchronous, the latest few and the best, each whole or absent.

Each holds the checksums of its files, which are compared when it is read: a damaged one is passed over for the newest
that is whole, aloud, and kept aside.

With several processes each writes its part, so that all of them call every method that saves, waits or restores.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from bert_jax import checksums
from bert_jax.errors import CheckpointMismatch, UserError, refusal
from bert_jax.models.parameters import path_name
from bert_jax.training import processes
from bert_jax.training.checkpoint_manager import make_manager
from bert_jax.training.state import TrainState, saved_apart
from bert_jax.training.task import Metric

# Items of a checkpoint: apart, so that an export reads only the parameters that it needs.
ITEMS = _PARAMS, _AVERAGE, _REST = "params", "average", "training"
_MODEL = (f"{_PARAMS}/", f"{_AVERAGE}/", "metrics/")
"""What of a checkpoint is read for the model alone."""
_ORBAX_NOTES = "_CHECKPOINT_METADATA"
"""Orbax adds the time of the commit to it after everything else."""
DAMAGED = "damaged"
"""Where a run that resumes moves damaged checkpoints, beside the folder of the others."""
_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints under `directory`, named by step. Use as a context manager: leaving waits for writes."""

    def __init__(
        self,
        directory: Path,
        *,
        keep: int = 1,
        select: Metric = Metric("loss", "min"),
        read_only: bool = False,
    ):
        self.directory = directory
        self._saving: int | None = None
        self._manager = make_manager(
            directory, ITEMS, keep=keep, select=select, read_only=read_only, before_commit=self._add_checksums
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: Any) -> None:
        if exception != (None, None, None) and not processes.is_alone():
            return  # what another process has to finish first may never be
        try:
            with self._disk_faults(None):
                self._manager.close()
        except UserError:
            if exception == (None, None, None):  # never hide the first error behind a second
                raise

    def latest(self) -> int | None:
        """Step of the newest checkpoint, damaged or not."""
        return self._manager.latest_step()

    def best(self) -> int | None:
        """Step of the best checkpoint, of those evaluated."""
        return self._manager.best_step()

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def choose(self, which: str) -> int:
        """The step that "last", "best" or a number names; where the last or the best is damaged, the newest that is whole.

        Raises:
          UserError: there is no such checkpoint, or none is whole.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"no checkpoint in {self.directory}: the run saved none yet")
        if which in ("last", "best"):
            best = self.best() if which == "best" else None
            return self._newest_whole(steps if best is None else [*steps, best])
        if not which.isdecimal() or int(which) not in steps:
            raise UserError(
                f"no checkpoint {which!r} in {self.directory}: there are last, best, {', '.join(map(str, steps))}"
            )
        return int(which)

    def _newest_whole(self, steps: Sequence[int]) -> int:
        """The last of `steps` whose model is as it was written; those passed over are named."""
        faults: dict[int, str] = {}
        for step in reversed(steps):
            fault = checksums.fault(self._folder(step), below=_MODEL)
            if fault is None:
                for other, reason in faults.items():
                    _log.warning("%s: reading %d instead", self._damaged(other, reason), step)
                return step
            faults[step] = fault
        raise self._none_is_whole(faults)

    def resume(self, abstract: TrainState) -> tuple[int, TrainState] | None:
        """The step and the state of the newest checkpoint that is whole; None: there is none at all.

        Damaged ones that are newer are named in the log and moved to `DAMAGED`: the run writes these steps again. Those of
        before there were checksums are whole if they can be read.

        Raises:
          CheckpointMismatch: it holds other leaves, or leaves of other shapes.
          UserError: none is whole, or it cannot be read.
        """
        faults: dict[int, str] = {}
        for step in reversed(self.steps()):
            fault = self._first_process_finds(step)
            if fault is None:
                try:
                    state = self.restore(abstract, step)
                except UserError as error:
                    is_no_damage = isinstance(error, CheckpointMismatch) or isinstance(
                        error.__cause__, jax.errors.JaxRuntimeError
                    )
                    if is_no_damage or not processes.is_alone():  # nor can one process tell the others
                        raise
                    fault = str(error.__cause__ or error).strip().split("\n")[0]
                else:
                    self._set_aside(faults)
                    return step, state
            faults[step] = fault
        if faults:
            raise self._none_is_whole(faults)
        return None

    def _first_process_finds(self, step: int) -> str | None:
        """What is damaged in a checkpoint; every process is told the same, and only the first reads it for that."""
        fault = checksums.fault(self._folder(step)) if processes.is_first() else None
        if processes.is_alone():
            return fault
        is_damaged = multihost_utils.broadcast_one_to_all(np.bool_(fault is not None))
        return (fault or "the first process found it damaged") if is_damaged else None

    def _set_aside(self, faults: Mapping[int, str]) -> None:
        """Moves damaged checkpoints out of the way, so that their steps can be saved again."""
        for step, fault in faults.items():
            place = _unused(self.directory.parent / DAMAGED / str(step))
            if processes.is_first():
                _log.warning(
                    "%s: going on from an older one; it is kept as %s", self._damaged(step, fault), place
                )
                with self._disk_faults(step):
                    place.parent.mkdir(exist_ok=True)
                    self._folder(step).rename(place)
        if faults:
            processes.barrier("moving damaged checkpoints aside")
            self._manager.reload()

    def _folder(self, step: int) -> Path:
        return self.directory / str(step)

    def _damaged(self, step: int, fault: str) -> str:
        return f"checkpoint {step} in {self.directory} is damaged: {fault}"

    def _none_is_whole(self, faults: Mapping[int, str]) -> UserError:
        listed = "; ".join(f"{step}: {fault}" for step, fault in faults.items())
        return UserError(f"no checkpoint in {self.directory} is whole: {listed}")

    def _add_checksums(self) -> None:
        """Called by orbax when all processes have written their parts, before the folder gets its name."""
        if processes.is_first():
            [folder] = self.directory.glob(f"{self._saving}.*")
            checksums.write(folder, without=(_ORBAX_NOTES,))

    def save(self, state: TrainState, *, evaluation: Mapping[str, float] | None = None) -> None:
        """Starts writing `state`; returns once it is copied off the device.

        `evaluation` holds the held-out scores if they were taken at this very step, with the `sequence_length` and
        the `evaluation` of their phase.
        """
        step = int(state.step)
        processes.heartbeat(f"checkpoint {step}")
        with self._disk_faults(step):
            self._manager.wait_until_finished()  # of the one before, whose checksums are under way
            self._saving = step
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{name: ocp.args.StandardSave(item) for name, item in _items(state).items()}
                ),
                metrics=dict(evaluation) if evaluation else None,
                force=True,
            )
        processes.heartbeat(f"step {step + 1}")

    def wait(self) -> None:
        """Returns when everything saved is on disk."""
        processes.heartbeat("the checkpoints being written")
        with self._disk_faults(None):
            self._manager.wait_until_finished()

    def check(self) -> None:
        """Raises what a write in the background met."""
        with self._disk_faults(None):
            self._manager.check_for_errors()

    def restore(self, abstract: TrainState, step: int) -> TrainState:
        """The state saved at `step`, placed as the leaves of `abstract` (shapes, types, shardings) say.

        Raises:
          CheckpointMismatch: it holds other leaves, or leaves of other shapes.
          UserError: it cannot be read.
        """
        processes.heartbeat(f"checkpoint {step} to be read")
        items = _items(abstract)
        restored = self._restore(step, items)
        average = restored[_AVERAGE] if _AVERAGE in items else None
        return TrainState(params=restored[_PARAMS], average=average, **restored[_REST])

    def restore_params(self, abstract: Any, step: int, *, without: tuple[str, ...] = ()) -> Any:
        """Only the parameters of the model saved at `step`: their average where the run keeps one; raises as `restore` does.

        without: parts that training alone needed: left out if they are there.
        """
        fault = checksums.fault(self._folder(step), below=_MODEL)
        if fault is not None:
            raise UserError(f"{self._damaged(step, fault)}; {self._advice(step, 'read')}")
        with self._disk_faults(step, "read"):
            item = _AVERAGE if (self._folder(step) / _AVERAGE).exists() else _PARAMS
            saved = self._noted(step, item)
        sharding = jax.tree.leaves(abstract)[0].sharding
        if isinstance(sharding, NamedSharding):
            sharding = NamedSharding(sharding.mesh, PartitionSpec())
        others = {
            name: jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), saved[name]
            )
            for name in without
            if saved is not None and name in saved
        }
        params = self._restore(step, {item: {**abstract, **others}})[item]
        return {name: part for name, part in params.items() if name not in others}

    def _restore(self, step: int, items: Mapping[str, Any]) -> Any:
        with self._disk_faults(step, "read"):
            saved = {name: self._noted(step, name) for name in items}
        for name, abstract in items.items():
            self._check_leaves(step, saved[name], abstract)
        args = {name: ocp.args.StandardRestore(abstract) for name, abstract in items.items()}
        with self._disk_faults(step, "read"):
            return self._manager.restore(step, args=ocp.args.Composite(**args))

    def _noted(self, step: int, item: str) -> Any:
        """What orbax noted of the leaves of an item; {}: of a run without an average."""
        folder = self._folder(step) / item
        if item == _AVERAGE and not folder.exists():
            return {}
        return ocp.StandardCheckpointHandler().metadata(epath.Path(folder.absolute()))

    def _check_leaves(self, step: int, saved: Any, abstract: Any) -> None:
        """Compares the leaves that were saved with those asked for: paths and shapes."""
        if saved is None:  # orbax has no metadata of it; reading tells
            return
        there, here = _shapes(saved), _shapes(abstract)
        differing = [
            f"{path} has shape {there.get(path, 'none')}, the run's is {here.get(path, 'none')}"
            for path in sorted(there.keys() | here.keys())
            if there.get(path) != here.get(path)
        ]
        if differing:
            more = f"; and {len(differing) - 3} more" if len(differing) > 3 else ""
            raise CheckpointMismatch(
                f"checkpoint {step} in {self.directory} is of another model or optimizer: {'; '.join(differing[:3])}"
                f"{more}"
            )

    @contextlib.contextmanager
    def _disk_faults(self, step: int | None, verb: str = "written") -> Iterator[None]:
        """Orbax and tensorstore report a disk's faults in many types of exception; the user gets one line."""
        try:
            yield
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            which = "a checkpoint" if step is None else f"checkpoint {step}"
            raise UserError(
                f"{which} in {self.directory} could not be {verb}: {refusal(error)[:300]}; {self._advice(step, verb)}"
            ) from error

    def _advice(self, step: int | None, verb: str) -> str:
        if verb == "written":
            return "earlier checkpoints are whole, the same command resumes from the last"
        others = [other for other in self.steps() if other != step]
        return f"there are others: {', '.join(map(str, others))}" if others else "there is no other"


def _unused(path: Path) -> Path:
    """`path`, or the first of path-2, path-3, ... that is not there."""
    names = itertools.chain([path], (path.with_name(f"{path.name}-{n}") for n in itertools.count(2)))
    return next(name for name in names if not name.exists())


def _items(state: TrainState) -> dict[str, Any]:
    """What of a state each item of a checkpoint holds."""
    average = {} if state.average is None else {_AVERAGE: state.average}
    return {_PARAMS: state.params, **average, _REST: saved_apart(state)}


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """{path: shape} of a tree of arrays, or of what orbax noted of one."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    return {path_name(path): tuple(leaf.shape) for path, leaf in leaves if hasattr(leaf, "shape")}
