"""What probes found in a checkpoint, row by row, kept beside it for a sweep to compare.

W/probes.json   step, settings, and every score and breakdown in numbers to read
W/probes.npz    the sums and weights of each score, row by row: runs that were scored on the same rows are compared
                row by row
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bert_jax import array_file, atomic, json_file
from bert_jax.errors import UserError

JSON, ARRAYS = "probes.json", "probes.npz"
_FORM = {
    "step": int,
    "settings": dict,
    "scores": {str: {"better": str, "unit": str, "chance": object}},
    "breakdowns": [{"name": str, "axis": str, "labels": [str], "values": list, "counts": [int]}],
    "details": dict,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One measure on R rows, kept as a sum and a weight for each; a fine-tuned task's score is one too."""

    name: str
    """probe and measure, such as "sop.accuracy" or "mlm.loss" """
    total_R: np.ndarray
    weight_R: np.ndarray
    better: Literal["higher", "lower"]
    unit: str = ""
    chance: float | None = None
    """what guessing reaches, where that is known"""

    @property
    def value(self) -> float:
        """sum(total) / sum(weight); NaN without weight."""
        weight = float(np.sum(self.weight_R, dtype=np.float64))
        return float(np.sum(self.total_R, dtype=np.float64)) / weight if weight else math.nan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Breakdown:
    """A measure over parts of the data: MLM loss by token frequency, by position."""

    name: str
    """such as "mlm.loss by frequency" """
    axis: str
    """what the labels mean, with the unit: "occurrences per million tokens" """
    labels: tuple[str, ...]
    values: tuple[float | None, ...]
    """None where the part is empty"""
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probed:
    """All that was found in the checkpoint of `step`."""

    step: int
    settings: dict[str, Any]
    """what decides the rows and the fit; runs compare where these are equal"""
    scores: tuple[Score, ...]
    breakdowns: tuple[Breakdown, ...] = ()
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    """by probe, what else is worth knowing and compares nothing: the accuracy of a fit on its own rows"""


def write(workdir: Path, probed: Probed) -> None:
    """Writes `probed` into `workdir`, replacing what was there; the JSON, whose presence says it is whole, last."""
    (workdir / JSON).unlink(missing_ok=True)
    arrays = {}
    for score in probed.scores:
        arrays[f"{score.name}/total"] = np.asarray(score.total_R, np.float64)
        arrays[f"{score.name}/weight"] = np.asarray(score.weight_R, np.float64)
    with atomic.binary_stream(workdir / ARRAYS) as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    text = json.dumps(
        {
            "step": probed.step,
            "settings": probed.settings,
            "scores": {
                score.name: {
                    "value": None if math.isnan(score.value) else score.value,
                    "rows": len(score.total_R),
                    "weight": float(np.sum(score.weight_R)),
                    "better": score.better,
                    "unit": score.unit,
                    "chance": score.chance,
                }
                for score in probed.scores
            },
            "breakdowns": [dataclasses.asdict(part) for part in probed.breakdowns],
            "details": probed.details,
        },
        indent=1,
    )
    atomic.write_text(workdir / JSON, text + "\n")


def read(workdir: Path) -> Probed | None:
    """What `write` left in `workdir`; None if nothing did.

    Raises:
      UserError: the files do not fit each other or are not ours.
    """
    file = workdir / JSON
    if not file.is_file():
        return None
    try:
        saved = json_file.read(file, _FORM, advice="remove it and probe again")
        arrays = array_file.read_npz(workdir / ARRAYS)
        scores = tuple(
            Score(
                name=name,
                total_R=arrays[f"{name}/total"],
                weight_R=arrays[f"{name}/weight"],
                better=facts["better"],
                unit=facts["unit"],
                chance=facts["chance"],
            )
            for name, facts in saved["scores"].items()
        )
        parts = tuple(Breakdown(**{**part, **_tuples(part)}) for part in saved["breakdowns"])
        return Probed(
            step=saved["step"],
            settings=saved["settings"],
            scores=scores,
            breakdowns=parts,
            details=saved["details"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not what a probe wrote: {error!r}; remove it and probe again") from error


def _tuples(part: dict[str, Sequence[Any]]) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(part[name]) for name in ("labels", "values", "counts")}
