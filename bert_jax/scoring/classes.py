"""Scores of classification: one class an example, or any number of labels.

The definitions are scikit-learn's with zero_division=0, computed from counts. scikit-learn itself takes a single
label for two classes, warns where one class alone occurs, and is slow to import.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bert_jax.scoring import checks


def classification_scores(
    labels_N: np.ndarray, predictions_N: np.ndarray, *, names: Sequence[str]
) -> dict[str, float]:
    """Scores of class indices: "accuracy", "matthews", "macro_f1", "micro_f1"; of two classes also "f1" of class 1.

    "macro_f1" is the mean over all `names`; the F1 of a class that neither labels nor predictions hold is 0.
    "matthews" is 0 where labels or predictions are of one class alone.

    Raises:
      UserError: no example; NaN; an index that is no class.
    """
    counts_CC = confusion_matrix(labels_N, predictions_N, classes=len(names))
    right_C = np.diagonal(counts_CC)
    f1_C = _f1(right_C, counts_CC.sum(axis=1), counts_CC.sum(axis=0))
    accuracy = float(right_C.sum() / counts_CC.sum())
    scores = {
        "accuracy": accuracy,
        "matthews": _matthews(counts_CC),
        "macro_f1": float(np.mean(f1_C)),
        "micro_f1": accuracy,  # every wrong prediction is one false positive and one false negative
    }
    return scores | ({"f1": float(f1_C[1])} if len(names) == 2 else {})


def multilabel_scores(labels_NC: np.ndarray, predictions_NC: np.ndarray) -> dict[str, float]:
    """Scores of examples with any number of labels: "micro_f1", "macro_f1", and "exact_match" (all labels right).

    The F1 of a label that neither gold nor predictions hold is 0, and counts in "macro_f1".

    Args:
      labels_NC, predictions_NC: bool.

    Raises:
      UserError: no example; NaN.
    """
    checks.matching(labels_NC, predictions_NC, axes=2)
    for what, values_NC in (("labels", labels_NC), ("predictions", predictions_NC)):
        checks.finite(values_NC, what)
        if values_NC.dtype != bool:
            raise ValueError(f"{what} must be bool, not {values_NC.dtype}")
    right_C = np.sum(labels_NC & predictions_NC, axis=0)
    gold_C, found_C = np.sum(labels_NC, axis=0), np.sum(predictions_NC, axis=0)
    return {
        "micro_f1": float(_f1(right_C.sum(), gold_C.sum(), found_C.sum())),
        "macro_f1": float(np.mean(_f1(right_C, gold_C, found_C))),
        "exact_match": float(np.mean(np.all(labels_NC == predictions_NC, axis=1))),
    }


def confusion_matrix(labels_N: np.ndarray, predictions_N: np.ndarray, *, classes: int) -> np.ndarray:
    """Counts of examples [C, C] by gold class (rows) and predicted class (columns).

    Raises:
      UserError: no example; NaN; an index outside [0, classes).
    """
    checks.matching(labels_N, predictions_N, axes=1)
    checks.class_indices(labels_N, "labels", classes=classes)
    checks.class_indices(predictions_N, "predictions", classes=classes)
    cells_N = labels_N.astype(np.int64) * classes + predictions_N.astype(np.int64)
    return np.bincount(cells_N, minlength=classes * classes).reshape(classes, classes)


def _f1(right: np.ndarray, gold: np.ndarray, found: np.ndarray) -> np.ndarray:
    return 2 * right / np.maximum(gold + found, 1)


def _matthews(counts_CC: np.ndarray) -> float:
    """The correlation R_K of Gorodkin (2004); of two classes, Matthews's."""
    total = float(counts_CC.sum())
    gold_C, found_C = counts_CC.sum(axis=1).astype(np.float64), counts_CC.sum(axis=0).astype(np.float64)
    shared = float(np.trace(counts_CC)) * total - gold_C @ found_C
    spread = (total**2 - gold_C @ gold_C) * (total**2 - found_C @ found_C)
    return float(shared / np.sqrt(spread)) if spread else 0.0
