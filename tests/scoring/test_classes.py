"""Scores of classification: by hand, and equal to scikit-learn's for any labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from bert_jax.errors import UserError
from bert_jax.scoring.classes import classification_scores, confusion_matrix, multilabel_scores
from tests.scoring.golden import cases

TWO = ("no", "yes")


@st.composite
def indices(draw, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of the first `classes` or fewer of C classes."""
    count = draw(st.integers(1, 30))
    column = st.lists(st.integers(0, classes - 1), min_size=count, max_size=count).map(np.array)
    return draw(column), draw(column)


def test_two_classes_by_hand():
    gold, found = np.array([1, 1, 1, 0, 0, 0, 0, 0]), np.array([1, 1, 0, 1, 1, 0, 0, 0])
    scores = classification_scores(gold, found, names=TWO)
    # true positives 2, false 2, missed 1, true negatives 3
    assert scores == pytest.approx(
        {
            "accuracy": 5 / 8,
            "f1": 4 / 7,
            "macro_f1": (4 / 7 + 6 / 9) / 2,
            "micro_f1": 5 / 8,
            "matthews": (2 * 3 - 2 * 1) / np.sqrt(4 * 3 * 5 * 4),
        }
    )


def test_a_confusion_matrix_has_gold_in_rows():
    counts_CC = confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 2]), classes=3)
    np.testing.assert_array_equal(counts_CC, [[0, 2, 0], [0, 0, 0], [0, 0, 1]])


def test_only_two_classes_have_the_f1_of_one_of_them():
    assert "f1" not in classification_scores(np.array([0, 1]), np.array([0, 1]), names=("a", "b", "c"))


@settings(deadline=None)
@given(st.integers(2, 5).flatmap(lambda classes: st.tuples(st.just(classes), indices(classes))))
def test_scores_equal_scikit_learns(drawn):
    classes, (gold, found) = drawn
    scores = classification_scores(gold, found, names=[str(index) for index in range(classes)])
    f1 = {
        f"{average}_f1": metrics.f1_score(
            gold, found, labels=range(classes), average=average, zero_division=0
        )
        for average in ("macro", "micro")
    }
    expected = {"accuracy": metrics.accuracy_score(gold, found), **f1}
    if classes == 2:
        expected["f1"] = metrics.f1_score(gold, found, zero_division=0)
    if len({*gold.tolist(), *found.tolist()}) == 1:  # scikit-learn warns, and gives 0 too
        expected["matthews"] = 0.0
    else:
        expected["matthews"] = metrics.matthews_corrcoef(gold, found)
    assert scores == pytest.approx(expected)
    np.testing.assert_array_equal(
        confusion_matrix(gold, found, classes=classes),
        metrics.confusion_matrix(gold, found, labels=range(classes)),
    )


@settings(deadline=None)
@given(indices(3), st.randoms(use_true_random=False))
def test_the_order_of_examples_does_not_matter(drawn, random):
    gold, found = drawn
    order = list(range(len(gold)))
    random.shuffle(order)
    names = ("a", "b", "c")
    assert classification_scores(gold, found, names=names) == classification_scores(
        gold[order], found[order], names=names
    )


def test_several_labels_by_hand():
    gold = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], bool)
    found = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], bool)
    # by label: 2 right; 1 missed and 1 false; none at all
    expected = {"micro_f1": 2 * 2 / (2 * 2 + 1 + 1), "macro_f1": (1 + 0 + 0) / 3, "exact_match": 1 / 3}
    assert multilabel_scores(gold, found) == pytest.approx(expected)


@settings(deadline=None)
@given(st.integers(2, 4), st.integers(1, 8), st.randoms(use_true_random=False))
def test_several_labels_equal_scikit_learns(labels, count, random):
    gold, found = (
        np.array([[random.random() < 0.4 for _ in range(labels)] for _ in range(count)]) for _ in range(2)
    )
    expected = {
        "micro_f1": metrics.f1_score(gold, found, average="micro", zero_division=0),
        "macro_f1": metrics.f1_score(gold, found, average="macro", zero_division=0),
        "exact_match": metrics.accuracy_score(gold, found),
    }
    assert multilabel_scores(gold, found) == pytest.approx(expected)


def test_one_label_is_scored_as_a_label_and_not_as_two_classes():
    none = np.zeros((4, 1), bool)
    assert multilabel_scores(none, none) == {"micro_f1": 0.0, "macro_f1": 0.0, "exact_match": 1.0}


@pytest.mark.parametrize(
    ("gold", "found", "message"),
    [
        (np.array([], int), np.array([], int), "0 examples"),
        (np.array([0, 1]), np.array([0, 2]), r"predictions must be in \[0, 2\).* 1 of 2 .* 2 at index 1"),
        (np.array([0, -1]), np.array([0, 1]), r"labels must be in \[0, 2\).* -1 at index 1"),
        (np.array([0, 1, 1]), np.array([0, np.nan, np.inf]), "must be finite: 2 of 3 .* nan at index 1"),
    ],
)
def test_what_is_no_class_is_refused(gold, found, message):
    with pytest.raises(UserError, match=message):
        classification_scores(gold, found, names=TWO)


def test_mistaken_arrays_are_refused():
    one, two = np.array([1]), np.array([1, 0])
    with pytest.raises(ValueError, match="alike"):
        classification_scores(one, two, names=TWO)
    with pytest.raises(ValueError, match="integer type, not float64"):
        classification_scores(two, two.astype(float), names=TWO)
    with pytest.raises(ValueError, match="labels must be bool, not int64"):
        multilabel_scores(two[:, None], two[:, None] > 0)
    with pytest.raises(UserError, match=r"predictions must be finite: 1 of 2"):
        multilabel_scores(two[:, None] > 0, np.array([[np.nan], [1.0]]))


def test_golden_glue_cases():
    golden = cases("golden/glue_metric_cases.json")
    scores = classification_scores(np.array(golden["labels"]), np.array(golden["preds"]), names=TWO)
    expected = (golden["accuracy"], golden["f1"], golden["mcc"])
    assert (scores["accuracy"], scores["f1"], scores["matthews"]) == pytest.approx(expected, rel=1e-12)
