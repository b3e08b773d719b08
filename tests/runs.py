"""What runs have left in their workdirs, for comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from bert_jax.tasks.load import load_workdir
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
