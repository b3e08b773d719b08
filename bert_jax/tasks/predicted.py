"""What an evaluation says of its examples: predictions by number, each example beside what is right, confusions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bert_jax.errors import UserError


class Judged(NamedTuple):
    """What the model says of an example, beside what is right."""

    place: str
    text: str
    gold: str
    guess: str
    badness: float
    """0: right; examples that are further from right have more"""


class Confusion(NamedTuple):
    """How often each class was taken for which."""

    labels: tuple[str, ...]
    counts_CC: np.ndarray
    """by gold class (rows) and predicted class"""


def by_sequence(predictions: Mapping[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(values [N, ...], numbers [N]) of what an evaluation says of each sequence, by number.

    Raises:
      UserError: a value that is not finite.
    """
    ids_BP = predictions["features_BP"]
    there_BP = ids_BP >= 0
    ids_N, values_N = ids_BP[there_BP], predictions[name][there_BP]
    order = np.argsort(ids_N, kind="stable")
    finite(values_N, ids_N)
    return values_N[order], ids_N[order]


def finite(values_N: np.ndarray, ids_N: np.ndarray) -> None:
    """Raises:
    UserError: a value of the sequences `ids_N` is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(values_N.reshape(len(values_N), -1)).all(axis=1))
    if len(bad):
        raise UserError(
            f"{len(bad):,} of {len(ids_N):,} predictions are NaN or infinite, the first is of example"
            f" {ids_N[bad].min() + 1}: lower config.optim.learning_rate"
        )
