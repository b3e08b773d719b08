"""Texts and pairs as features: their tokens and segments, and what is learnt of each."""

import numpy as np

from bert_jax.data.labelled.examples import TextExample
from bert_jax.data.labelled.texts import found_labels, text_features
from tests.data.labelled.faults import assert_fault
from tests.text.samples import trained


def examples(*labels, pair=None):
    return [TextExample("the fox", pair, label, f"x:{line}") for line, label in enumerate(labels, start=1)]


def features(found, target="classification", labels=(), max_length=16, types=2):
    return text_features(found, trained(), target=target, labels=labels, max_length=max_length, types=types)


def test_labels_that_are_numbers_are_in_the_order_of_their_values():
    assert found_labels(examples("10", "-1", "2", "10")) == ("-1", "2", "10")
    assert found_labels(examples("10", "2", "x")) == ("10", "2", "x")
    assert found_labels(examples(("b", "a"), ())) == ("a", "b")


def test_targets_of_each_kind():
    """Classes are counted in the order of the task's labels, whatever their names are."""
    labels = ("yes", "no", "perhaps")
    of_classes = features(examples("perhaps", "yes", "no"), labels=labels).of_sequences
    assert of_classes["labels_P"].tolist() == [2, 0, 1] and of_classes["labels_P"].dtype == np.int32
    of_labels = features(examples(("no",), (), ("perhaps", "yes")), "multilabel", labels).of_sequences
    assert of_labels["labels_PC"].tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 1]]
    of_numbers = features(examples(1.5, -2.0), "regression").of_sequences
    assert of_numbers["targets_P"].tolist() == [1.5, -2.0]


def test_a_label_that_the_task_does_not_have_is_one_line():
    assert_fault(
        lambda: features(examples("yes", "none"), labels=("yes", "no")),
        r"x:2: label 'none' must be one of the task's labels: yes, no",
    )


def test_pairs_have_two_segments_where_the_model_tells_them_apart():
    vocabulary = trained()
    [the], [fox], [dog] = map(vocabulary.encode, ("the", "fox", "dog"))
    found = features(examples("a", pair="dog"), labels=("a",))
    assert found.tokens_T.tolist() == [2, the, fox, 3, dog, 3]  # [CLS] 2, [SEP] 3
    assert found.type_ids_T.tolist() == [0, 0, 0, 0, 1, 1]
    assert features(examples("a", pair="dog"), labels=("a",), types=1).type_ids_T.tolist() == [0] * 6


def test_what_is_longer_loses_its_end_and_is_counted():
    vocabulary = trained()
    found = features(examples("a", "a"), labels=("a",), max_length=3)
    assert found.tokens_T.tolist() == [2, *vocabulary.encode("the"), 3] * 2
    assert (found.lengths_S.tolist(), found.examples_S.tolist(), found.cut) == ([3, 3], [0, 1], 2)
