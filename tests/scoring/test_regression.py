"""Scores of regression: correlations by hand, undefined ones, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.scoring.regression import regression_scores
from tests.scoring.golden import cases


def test_correlations_by_hand():
    scores = regression_scores(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 10.0]))
    # deviations (-1.5, -0.5, 0.5, 1.5) and (-3, -1, -2, 6); ranks 1 3 2 4
    assert scores == pytest.approx(
        {
            "pearson": (4.5 + 0.5 - 1.0 + 9.0) / math.sqrt(5.0 * 50.0),
            "spearman": 1 - 6 * 2 / (4 * 15),
            "mse": (0 + 1 + 1 + 36) / 4,
        }
    )


def test_equal_values_share_their_mean_rank():
    scores = regression_scores(np.array([1.0, 2.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert scores["spearman"] == pytest.approx(4.5 / math.sqrt(4.5 * 5.0))  # ranks 1 2.5 2.5 4 and 1 2 3 4


@pytest.mark.parametrize(
    ("targets", "predictions"), [([1.0, 2.0], [0.3, 0.3]), ([2.0, 2.0], [0.1, 0.2]), ([1.0], [2.0])]
)
def test_a_correlation_with_a_constant_is_undefined(targets, predictions):
    scores = regression_scores(np.array(targets), np.array(predictions))
    assert math.isnan(scores["pearson"]) and math.isnan(scores["spearman"])
    assert scores["mse"] == pytest.approx(np.mean((np.array(targets) - predictions) ** 2))


def test_predictions_that_hardly_differ_score_without_a_warning():
    predictions = np.array([1.0, 1.0 + 1e-15, 1.0])
    assert -1 <= regression_scores(np.array([0.0, 1.0, 2.0]), predictions)["pearson"] <= 1


def test_half_precision_is_scored_in_double():
    targets, predictions = np.array([300.0, 0.0], np.float16), np.array([0.0, 300.0], np.float16)
    assert regression_scores(targets, predictions)["mse"] == 90_000.0  # more than float16 holds


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [
        ([0.0, 1.0, 2.0], [0.0, np.nan, np.inf], "predictions must be finite: 2 of 3 .* nan at index 1"),
        ([0.0, np.inf], [0.0, 1.0], "targets must be finite: 1 of 2 .* inf at index 1"),
        ([], [], "0 examples"),
    ],
)
def test_what_is_no_number_is_refused(targets, predictions, message):
    with pytest.raises(UserError, match=message):
        regression_scores(np.array(targets), np.array(predictions))


def test_golden_stsb_cases():
    golden = cases("golden/glue_metric_cases.json")
    scores = regression_scores(np.array(golden["scores"]), np.array(golden["score_preds"]))
    expected = (golden["pearson"], golden["spearman"])
    assert (scores["pearson"], scores["spearman"]) == pytest.approx(expected, rel=1e-12)
