"""Masked language modelling on held-out rows: whole, by the hidden token's frequency and by its place."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from bert_jax.probes.scores import Breakdown, Score

_DECADES = (1, 10, 100, 1_000, 10_000)
"""Bounds between bins of frequency, occurrences per million tokens."""
_PLACES = 8
"""Bins of the positions of a row."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a model answered for the M masked slots of R rows."""

    loss_RM: np.ndarray
    """nats, 0 where the slot is not in use"""
    hit_RM: np.ndarray
    """1 where no other token is more probable than the true one"""
    targets_RM: np.ndarray
    positions_RM: np.ndarray
    weights_RM: np.ndarray
    """1 for a slot in use, 0 for another"""

    @classmethod
    def joined(cls, parts: Sequence[Predictions], rows: int) -> Predictions:
        """The first `rows` rows of `parts`, one after another."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: np.concatenate([getattr(p, name) for p in parts])[:rows] for name in names})


def scores(found: Predictions) -> tuple[Score, Score]:
    """mlm.loss and mlm.accuracy, a sum and a weight a row."""
    weight_R = found.weights_RM.sum(1, dtype=np.float64)
    loss_R = (found.loss_RM * found.weights_RM).sum(1, dtype=np.float64)
    hits_R = (found.hit_RM * found.weights_RM).sum(1, dtype=np.float64)
    return (
        Score(
            name="mlm.loss", total_R=loss_R, weight_R=weight_R, better="lower", unit="nats per masked token"
        ),
        Score(name="mlm.accuracy", total_R=hits_R, weight_R=weight_R, better="higher"),
    )


def breakdowns(found: Predictions, counts_V: np.ndarray, length: int) -> tuple[Breakdown, ...]:
    """Loss and accuracy by frequency and by position.

    Args:
      counts_V: occurrences of each token in the training text. length: L, of the rows.
    """
    share_V = counts_V * (1e6 / max(int(counts_V.sum()), 1))
    by_frequency = np.digitize(share_V, _DECADES)[found.targets_RM]
    bounds = np.linspace(0, length, _PLACES + 1).astype(int)
    by_place = np.digitize(found.positions_RM, bounds[1:-1])
    places = tuple(f"{a}-{b - 1}" for a, b in zip(bounds[:-1], bounds[1:], strict=True))
    return (
        *_by(
            found,
            "frequency",
            "occurrences per million tokens of training text",
            decade_labels(),
            by_frequency,
        ),
        *_by(found, "position", "position in the row", places, by_place),
    )


def decade_labels() -> tuple[str, ...]:
    """ "<1", "1-10", ...: the lower bound is in the bin, the upper in the next."""
    inner = [f"{a:,}-{b:,}" for a, b in zip(_DECADES[:-1], _DECADES[1:], strict=True)]
    return (f"<{_DECADES[0]}", *inner, f">={_DECADES[-1]:,}")


def _by(
    found: Predictions, name: str, axis: str, labels: tuple[str, ...], bin_RM: np.ndarray
) -> Iterator[Breakdown]:
    used = found.weights_RM > 0
    counts = np.bincount(bin_RM[used], minlength=len(labels))
    for measure, values_RM in (("loss", found.loss_RM), ("accuracy", found.hit_RM)):
        totals = np.bincount(bin_RM[used], weights=values_RM[used], minlength=len(labels))
        yield Breakdown(
            name=f"mlm.{measure} by {name}",
            axis=axis,
            labels=labels,
            values=tuple(
                float(total) / int(n) if n else None for total, n in zip(totals, counts, strict=True)
            ),
            counts=tuple(map(int, counts)),
        )
