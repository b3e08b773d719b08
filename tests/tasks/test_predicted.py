"""Predictions of a whole set, from rows in which examples lie in any order."""

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.tasks.predicted import by_sequence

IDS_BP = np.array([[3, 0, -1], [2, -1, -1], [1, 4, -1]])


def test_predictions_are_in_the_order_of_their_numbers():
    values_BPC = np.arange(18.0).reshape(3, 3, 2)
    values_N, ids_N = by_sequence({"features_BP": IDS_BP, "logits_BPC": values_BPC}, "logits_BPC")
    assert ids_N.tolist() == [0, 1, 2, 3, 4]
    places = [(0, 1), (2, 0), (1, 0), (0, 0), (2, 1)]
    np.testing.assert_array_equal(values_N, [values_BPC[place] for place in places])


def test_a_prediction_that_is_not_finite_is_named_and_empty_places_are_none():
    values_BP = np.where(IDS_BP == 1, np.inf, np.where(IDS_BP < 0, np.nan, 1.0))
    with pytest.raises(
        UserError, match=r"^1 of 5 predictions are NaN or infinite, the first is of example 2"
    ):
        by_sequence({"features_BP": IDS_BP, "scores_BP": values_BP}, "scores_BP")
