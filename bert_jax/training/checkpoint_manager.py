"""Orbax's manager of checkpoints as a run needs it: the latest few stay, and the best.

Which is the best, the task's metric says, among the evaluations that compare: losses of two row lengths or mask rates
do not, and those of the longest rows and the latest phase count.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers, type_handlers

from bert_jax import checksums
from bert_jax.training.task import Metric

# Orbax has every device write its share of an array that all hold, of the smallest bias too, by a slice that is compiled and
# run: with eight devices the loop stood still ten times as long. Arrays of which a share is less than this are written by one.
_SHARE_BYTES = 2**20


def _share_large_arrays_alone() -> None:
    absl = logging.getLogger("absl")
    level = absl.level
    absl.setLevel(logging.ERROR)  # it warns of what is asked for here
    handler = type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=_SHARE_BYTES)
    type_handlers.register_type_handler(jax.Array, handler, override=True)
    absl.setLevel(level)


_share_large_arrays_alone()


def make_manager(
    directory: Path,
    items: Iterable[str],
    *,
    keep: int,
    select: Metric,
    read_only: bool,
    before_commit: Callable[[], None],
) -> ocp.CheckpointManager:
    """The manager of the checkpoints in `directory`, each of which has some of `items`.

    before_commit: called in every process when all have written their parts of a checkpoint, before it gets its name.
    """

    def rank(metrics: Mapping[str, float]) -> Any:
        """What is lowest for the best checkpoint."""
        value = metrics.get(select.name, math.inf if select.better == "min" else -math.inf)
        comparable = (-metrics["sequence_length"], -metrics.get("evaluation", 0))
        return *comparable, value if select.better == "min" else -value

    best = checkpoint_managers.BestN(
        get_metric_fn=rank,
        reverse=True,  # the best comes last, and the last of the list is kept
        n=1,
        keep_checkpoints_without_metrics=False,
    )
    return _Manager(
        directory.absolute(),
        # Named, so that what a checkpoint holds can be compared before it is read.
        item_handlers={name: ocp.StandardCheckpointHandler() for name in items},
        options=ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                [checkpoint_managers.LatestN(keep), best]
            ),
            best_fn=rank,
            best_mode="min",
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
            async_options=ocp.AsyncOptions(post_finalization_callback=before_commit),
        ),
    )


class _Manager(ocp.CheckpointManager):
    """Orbax's, which reads the scores of all checkpoints when it is made: those that are damaged are none."""

    def metrics(self, step: int) -> Any:
        """The scores saved with a checkpoint; None: without, or they are damaged."""
        if checksums.fault(Path(self.directory) / str(step), below=("metrics/",)):
            return None
        try:
            return super().metrics(step)
        except (OSError, ValueError):  # of before there were checksums
            return None
