"""What every score asks of its input."""

from __future__ import annotations

import numpy as np

from bert_jax.errors import UserError


def matching(gold: np.ndarray, predictions: np.ndarray, *, axes: int) -> None:
    """
    Raises:
      ValueError: the shapes differ, or are not of `axes` axes.
      UserError: there is nothing to score.
    """
    if gold.shape != predictions.shape or gold.ndim != axes:
        raise ValueError(
            f"gold {gold.shape} and predictions {predictions.shape} must be alike, of {axes} axes"
        )
    if not len(gold):
        raise UserError("an evaluation set of 0 examples has no score: give it at least one")


def finite(values_N: np.ndarray, what: str) -> None:
    """
    Raises:
      UserError: NaN or infinity among the values, with their count and the first index, from 0.
    """
    if values_N.dtype.kind != "f":
        return
    bad = np.flatnonzero(~np.isfinite(values_N))
    if len(bad):
        raise UserError(
            f"{what} must be finite: {len(bad)} of {values_N.size} are NaN or infinite,"
            f" the first is {values_N.reshape(-1)[bad[0]]} at index {bad[0]}"
        )


def class_indices(values_N: np.ndarray, what: str, *, classes: int) -> None:
    """
    Raises:
      ValueError: not of an integer type.
      UserError: NaN, or an index outside [0, classes), with the first place, from 0.
    """
    finite(values_N, what)
    if values_N.dtype.kind not in "iub":
        raise ValueError(f"{what} must be class indices of an integer type, not {values_N.dtype}")
    bad = np.flatnonzero((values_N < 0) | (values_N >= classes))
    if len(bad):
        raise UserError(
            f"{what} must be in [0, {classes}), the classes: {len(bad)} of {len(values_N)} are not,"
            f" the first is {values_N[bad[0]]} at index {bad[0]}"
        )
