"""GLUE: the score's averages, the server's files, the table of published scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.scoring.classes import classification_scores
from bert_jax.scoring.glue import GLUE, PUBLISHED, SUBMISSIONS, glue_average, task_score, write_submission
from bert_jax.scoring.regression import regression_scores

NINE = {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"}


def test_every_task_names_metrics_that_its_scores_have():
    assert set(GLUE) == NINE
    for name, task in GLUE.items():
        gold = np.array([0, 1])
        if task.labels:
            scores = classification_scores(gold, gold, names=task.labels)
        else:
            scores = regression_scores(gold, gold)
        own = [metric for metric in task.metrics if metric != "mismatched_accuracy"]
        assert set(own) <= set(scores), name
        assert task.select in own, name


def test_labels_are_in_the_order_of_tfds():
    from tensorflow_datasets.text import glue

    for config in glue.Glue.BUILDER_CONFIGS:
        name = config.name if config.name in GLUE else SUBMISSIONS[config.name][1]
        assert GLUE[name].labels == tuple(config.label_classes or ()), config.name
    assert {config.name for config in glue.Glue.BUILDER_CONFIGS} == {*GLUE, *SUBMISSIONS}


def test_a_task_counts_the_mean_of_its_metrics():
    assert task_score("mrpc", {"f1": 0.9, "accuracy": 0.8, "matthews": 0.1}) == pytest.approx(0.85)
    assert task_score("stsb", {"pearson": 0.6, "spearman": 0.8, "mse": 9.0}) == pytest.approx(0.7)
    assert task_score("mnli", {"accuracy": 0.5, "mismatched_accuracy": 0.7}) == pytest.approx(0.6)
    assert task_score("cola", {"matthews": -0.1, "accuracy": 0.7}) == -0.1


def test_the_average_is_over_tasks_and_not_over_metrics():
    scores = {"cola": {"matthews": 0.4}, "qqp": {"f1": 0.8, "accuracy": 0.6}}
    assert glue_average(scores) == pytest.approx((0.4 + 0.7) / 2)
    assert glue_average(dict(reversed(scores.items()))) == glue_average(scores)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "at least one task of cola"),
        ({"snli": {"accuracy": 1.0}}, "'snli' is not in GLUE: name one of cola"),
        (
            {"mnli": {"accuracy": 0.8}},
            "mnli is the mean of accuracy, mismatched_accuracy: mismatched_accuracy is missing",
        ),
        ({"stsb": {"pearson": math.nan, "spearman": 0.1}}, "pearson of stsb is nan"),
    ],
)
def test_an_average_of_less_is_refused(scores, message):
    with pytest.raises(UserError, match=message):
        glue_average(scores)


@pytest.mark.parametrize(
    ("task", "predictions", "file", "cells"),
    [
        ("cola", [1, 0], "CoLA.tsv", ["1", "0"]),
        ("sst2", [0, 1], "SST-2.tsv", ["0", "1"]),
        ("mrpc", [1, 1], "MRPC.tsv", ["1", "1"]),
        ("stsb", [-0.2, 2.34567, 5.3, 4.0], "STS-B.tsv", ["0.000", "2.346", "5.000", "4.000"]),
        ("qqp", [0, 1], "QQP.tsv", ["0", "1"]),
        ("mnli_matched", [0, 1, 2], "MNLI-m.tsv", ["entailment", "neutral", "contradiction"]),
        ("mnli_mismatched", [2, 0], "MNLI-mm.tsv", ["contradiction", "entailment"]),
        ("qnli", [0, 1], "QNLI.tsv", ["entailment", "not_entailment"]),
        ("rte", [1, 0], "RTE.tsv", ["not_entailment", "entailment"]),
        ("wnli", [0, 1], "WNLI.tsv", ["0", "1"]),
        ("ax", [1, 0], "AX.tsv", ["neutral", "entailment"]),
    ],
)
def test_the_servers_files(tmp_path, task, predictions, file, cells):
    path = write_submission(tmp_path / "new", task, np.array(predictions))
    assert path == tmp_path / "new" / file
    lines = "".join(f"{index}\t{cell}\n" for index, cell in enumerate(cells))
    assert path.read_bytes() == f"index\tprediction\n{lines}".encode()


def test_every_test_set_has_a_file_and_every_task_a_test_set():
    assert len(SUBMISSIONS) == 11 and len({file for file, _ in SUBMISSIONS.values()}) == 11
    assert {task for _, task in SUBMISSIONS.values()} == NINE


@pytest.mark.parametrize(
    ("task", "predictions", "message"),
    [
        ("mnli", [0], "'mnli' is not in GLUE: name one of .*mnli_matched"),
        ("rte", [0, 2], r"predictions of rte must be in \[0, 2\).* 2 at index 1"),
        ("stsb", [1.0, math.nan], "predictions of stsb must be finite: 1 of 2 .* index 1"),
        ("cola", [], "predictions of cola must be one number for each example"),
        ("cola", [[0, 1]], r"not an array of shape \(1, 2\)"),
    ],
)
def test_what_the_server_refuses_is_not_written(tmp_path, task, predictions, message):
    with pytest.raises(UserError, match=message):
        write_submission(tmp_path / "new", task, np.array(predictions))
    assert not (tmp_path / "new").exists()


def test_published_scores_are_fractions_of_known_tasks():
    for model, row in PUBLISHED.items():
        assert row and set(row) <= NINE, model
        assert all(0.4 < score < 1 for score in row.values()), model
    assert PUBLISHED["ModernBERT-base"]["rte"] == 0.874
    assert PUBLISHED["BERT-base-cased (run_glue)"]["mrpc"] == pytest.approx((0.8885 + 0.8407) / 2, abs=1e-6)
    assert PUBLISHED["MiniLM-L6-H384"] == {
        "mnli": 0.833, "sst2": 0.915, "qnli": 0.905, "cola": 0.475, "rte": 0.688, "mrpc": 0.889, "qqp": 0.906,
    }  # fmt: skip
