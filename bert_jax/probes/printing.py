"""What probes found, on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from bert_jax.console import table
from bert_jax.probes.scores import Breakdown, Probed, Score


def print_probed(workdir: Path, probed: Probed, skipped: dict[str, str]) -> None:
    """Tables of the scores and of every breakdown."""
    rows = {score.name: _described(score) for score in probed.scores}
    for name, details in probed.details.items():
        rows[f"{name} fit"] = (
            f"{details['training_accuracy']:.4f} on its own {details['fitted_pairs']:,} pairs; lengths alone give"
            f" {details['accuracy_from_lengths']:.4f}"
        )
    rows |= {name: f"left out: {reason}" for name, reason in skipped.items()}
    table(f"{workdir} at step {probed.step}, held-out documents", rows)
    for axis in dict.fromkeys(part.axis for part in probed.breakdowns):
        print()
        table(axis, _broken_down([part for part in probed.breakdowns if part.axis == axis]))


def _described(score: Score) -> str:
    weight = float(score.weight_R.sum())
    text = f"{score.value:.4f} {score.unit}".strip()
    if score.chance is None:
        return f"{text} over {weight:,.0f}"
    error = _standard_error(score.value, weight)
    return f"{text} +- {error:.4f} (standard error) over {weight:,.0f}; chance {score.chance:.4f}"


def _broken_down(parts: Sequence[Breakdown]) -> dict[str, str]:
    """The measures of each label; the parts share their labels and counts."""
    rows = {}
    for number, (label, count) in enumerate(zip(parts[0].labels, parts[0].counts, strict=True)):
        measures = {part.name.partition(" ")[0]: part.values[number] for part in parts}
        shown = [f"{name} {value:.4f}" for name, value in measures.items() if value is not None]
        rows[label] = "   ".join([*shown, f"over {count:,}"])
    return rows


def _standard_error(accuracy: float, count: float) -> float:
    """Of a share estimated from `count` independent trials: sqrt(p (1 - p) / n)."""
    return math.sqrt(accuracy * (1 - accuracy) / count)
