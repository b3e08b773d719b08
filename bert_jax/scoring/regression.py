"""Scores of regression, and of similarity: a cosine is a prediction."""

from __future__ import annotations

import warnings

import numpy as np

from bert_jax.scoring import checks


def regression_scores(targets_N: np.ndarray, predictions_N: np.ndarray) -> dict[str, float]:
    """Scores of N numbers: "pearson", "spearman" (equal values share their mean rank), "mse".

    Both correlations are NaN where all targets or all predictions are equal, as in SciPy and so in GLUE's script:
    there is none, and 0 would pass for a measurement.

    Raises:
      UserError: no example; NaN or infinity.
    """
    checks.matching(targets_N, predictions_N, axes=1)
    checks.finite(targets_N, "targets")
    checks.finite(predictions_N, "predictions")
    from scipy import stats

    targets_N, predictions_N = targets_N.astype(np.float64), predictions_N.astype(np.float64)
    scores = {"mse": float(np.mean((targets_N - predictions_N) ** 2))}
    if np.ptp(targets_N) == 0 or np.ptp(predictions_N) == 0:
        return {"pearson": np.nan, "spearman": np.nan, **scores}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        pearson = float(stats.pearsonr(targets_N, predictions_N).statistic)
    return {
        "pearson": pearson,
        "spearman": float(stats.spearmanr(targets_N, predictions_N).statistic),
        **scores,
    }
