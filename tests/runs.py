"""What runs have left in their workdirs, for comparison."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from bert_jax.errors import Interrupted
from bert_jax.tasks.load import load_workdir
from bert_jax.training import parallel, trainer
from bert_jax.training.metrics import read_metrics

CLOCK = frozenset({"sequences_per_s", "tokens_per_s", "mfu"})
"""The metrics that depend on the clock."""


def lines(workdir: Path) -> list[dict[str, Any]]:
    """The metrics of a run without what depends on the clock."""
    return [
        {name: value for name, value in line.items() if name not in CLOCK}
        for line in read_metrics(workdir / "metrics.jsonl")
    ]


def assert_same_run(workdir: Path, expected: Path) -> None:
    """Equal in every bit: each line of metrics, and the parameters at the end."""
    assert lines(workdir) == lines(expected)
    ours, theirs = (load_workdir(path)[1] for path in (workdir, expected))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def assert_alike(
    found: list[dict[str, Any]], expected: list[dict[str, Any]], rel: float, *, least: float = 1e-12
) -> None:
    """Lines of metrics equal to rounding, where sums are added in another order. least: a difference that is none."""
    for line, other in zip(found, expected, strict=True):
        assert (line["split"], line.keys()) == (other["split"], other.keys())
        for name in line.keys() - {"split"}:
            assert line[name] == pytest.approx(other[name], rel=rel, abs=least), (
                f"{name} of step {line['step']}: {line[name]}, expected {other[name]}"
            )


@contextlib.contextmanager
def stopped(
    batches: type, step: int, number: int = signal.SIGTERM
) -> Iterator[pytest.ExceptionInfo[Interrupted]]:
    """The run inside gets a signal while it trains step `step`, and must say that it saved there.

    batches: the class of its batches.
    """
    iterate = batches.iterate  # type: ignore[attr-defined]

    def then_stop(self: Any, start: int, stop: int) -> Iterator[Any]:
        for at, batch in enumerate(iterate(self, start, stop), start + 1):
            # The one batch that a step is compiled for is not trained.
            if at == step and stop > start + 1 and getattr(self, "split", "train") == "train":
                signal.raise_signal(
                    number
                )  # os.kill may interrupt another thread, and the handler runs later
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "iterate", then_stop)
        with pytest.raises(Interrupted, match=f"at step {step}: saved") as found:
            yield found


@contextlib.contextmanager
def on(devices: int) -> Iterator[None]:
    """Runs inside train on so many devices."""

    def make_plan(config: Any, chosen: Any, **rest: Any) -> Any:
        assert chosen is None
        return parallel.make_plan(config, jax.devices()[:devices], **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "make_plan", make_plan)
        yield
