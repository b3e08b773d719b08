"""A linear classifier on frozen features: what an encoder's states hold, whatever it was trained on.

Logistic regression with an L2 penalty on standardised features, by Newton's method. It draws nothing, and
converges until the rounding of another batch size or number of devices decides no answer; states are so correlated
that methods without second derivatives take many times as long.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

FOLDS = 3
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse penalties to choose from, the strongest penalty first."""


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A classifier's answers on the R rows that were held out of its fit."""

    correct_R: np.ndarray
    """bool: whether the more probable class is the row's"""
    training_accuracy: float
    """on the rows it was fitted to: far above the held-out one, it has learnt them by heart"""
    strength: float
    """the inverse penalty that was chosen"""


def classify(
    train_ND: np.ndarray, train_labels_N: np.ndarray, held_RD: np.ndarray, held_labels_R: np.ndarray
) -> Fitted:
    """Fits to the N rows and answers the R held-out ones; labels are 0 and 1.

    The penalty is that of `STRENGTHS` with the lowest log loss over `FOLDS` stratified folds of the N rows, in
    their order; the held-out rows take no part in it.

    Raises:
      ValueError: a class with fewer than `FOLDS` of the N rows.
    """
    from sklearn.preprocessing import StandardScaler

    rarest = int(np.bincount(train_labels_N, minlength=2).min())
    if rarest < FOLDS:
        raise ValueError(f"{rarest} rows of a class must be >= {FOLDS}, the folds of the cross-validation")
    scaler = StandardScaler().fit(train_ND.astype(np.float64))
    scaled_ND = scaler.transform(train_ND.astype(np.float64))
    losses = {strength: _held_out_loss(scaled_ND, train_labels_N, strength) for strength in STRENGTHS}
    strength = min(losses, key=losses.__getitem__)
    model = _model(strength).fit(scaled_ND, train_labels_N)
    answers_R = model.predict(scaler.transform(held_RD.astype(np.float64)))
    return Fitted(
        correct_R=answers_R == held_labels_R,
        training_accuracy=float(np.mean(model.predict(scaled_ND) == train_labels_N)),
        strength=strength,
    )


def _held_out_loss(features_ND: np.ndarray, labels_N: np.ndarray, strength: float) -> float:
    """Log loss of each row by a classifier fitted to the other folds, summed."""
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold

    total = 0.0
    for rest, fold in StratifiedKFold(FOLDS).split(features_ND, labels_N):
        model = _model(strength).fit(features_ND[rest], labels_N[rest])
        answers = model.predict_proba(features_ND[fold])
        total += float(log_loss(labels_N[fold], answers, normalize=False, labels=(0, 1)))
    return total


def _model(strength: float) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-6)
