"""GLUE (Wang et al. 2019): its tasks, its score, the files that its server takes, and published scores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from bert_jax import atomic
from bert_jax.errors import UserError
from bert_jax.scoring import checks

_Entry = TypeVar("_Entry")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GlueTask:
    """What is scored of a task; the scores are named as by `classification_scores` and `regression_scores`."""

    metrics: tuple[str, ...]
    """the GLUE score takes their mean; "mismatched_accuracy" is "accuracy" on MNLI's mismatched set"""
    select: str
    """the metric that says which checkpoint is best: the one that the BERT paper reports (section 4.1)"""
    labels: tuple[str, ...] = ()
    """by class index, as in TFDS and in the server's files; none: a number in [0, 5]"""


_ENTAILMENT = ("entailment", "not_entailment")

GLUE: Mapping[str, GlueTask] = {
    "cola": GlueTask(metrics=("matthews",), select="matthews", labels=("unacceptable", "acceptable")),
    "sst2": GlueTask(metrics=("accuracy",), select="accuracy", labels=("negative", "positive")),
    "mrpc": GlueTask(metrics=("f1", "accuracy"), select="f1", labels=("not_equivalent", "equivalent")),
    "stsb": GlueTask(metrics=("pearson", "spearman"), select="spearman"),
    "qqp": GlueTask(metrics=("f1", "accuracy"), select="f1", labels=("not_duplicate", "duplicate")),
    "mnli": GlueTask(
        metrics=("accuracy", "mismatched_accuracy"),
        select="accuracy",
        labels=("entailment", "neutral", "contradiction"),
    ),
    "qnli": GlueTask(metrics=("accuracy",), select="accuracy", labels=_ENTAILMENT),
    "rte": GlueTask(metrics=("accuracy",), select="accuracy", labels=_ENTAILMENT),
    "wnli": GlueTask(metrics=("accuracy",), select="accuracy", labels=("not_entailment", "entailment")),
}


def task_score(task: str, scores: Mapping[str, float]) -> float:
    """The mean of the task's metrics among `scores`, which may hold others.

    Raises:
      UserError: an unknown task; a metric is missing or NaN.
    """
    metrics = _known(task, GLUE).metrics
    missing = [metric for metric in metrics if metric not in scores]
    if missing:
        raise UserError(
            f"GLUE's score of {task} is the mean of {', '.join(metrics)}: {missing[0]} is missing"
        )
    undefined = [metric for metric in metrics if not math.isfinite(scores[metric])]
    if undefined:
        raise UserError(f"{undefined[0]} of {task} is {scores[undefined[0]]}: GLUE's score needs a number")
    return math.fsum(scores[metric] for metric in metrics) / len(metrics)


def glue_average(scores: Mapping[str, Mapping[str, float]]) -> float:
    """The mean over tasks of `task_score`, as a fraction; averages compare over the same tasks.

    The server's is over all nine tasks, that of most papers leaves out wnli.

    Raises:
      UserError: no task; as `task_score`.
    """
    if not scores:
        raise UserError(f"GLUE's average needs at least one task of {', '.join(GLUE)}")
    return math.fsum(task_score(task, of) for task, of in scores.items()) / len(scores)


SUBMISSIONS: Mapping[str, tuple[str, str]] = {
    "cola": ("CoLA.tsv", "cola"),
    "sst2": ("SST-2.tsv", "sst2"),
    "mrpc": ("MRPC.tsv", "mrpc"),
    "stsb": ("STS-B.tsv", "stsb"),
    "qqp": ("QQP.tsv", "qqp"),
    "mnli_matched": ("MNLI-m.tsv", "mnli"),
    "mnli_mismatched": ("MNLI-mm.tsv", "mnli"),
    "qnli": ("QNLI.tsv", "qnli"),
    "rte": ("RTE.tsv", "rte"),
    "wnli": ("WNLI.tsv", "wnli"),
    "ax": ("AX.tsv", "mnli"),
}
"""By test set, named as TFDS's configs are: (file for the server, the task whose model predicts it)."""

_NAMED = frozenset({"mnli", "qnli", "rte"})
"""The tasks whose files hold label names; the others hold class indices."""


def write_submission(folder: Path, task: str, predictions_N: np.ndarray) -> Path:
    """Writes predictions for the whole test set `task` of `SUBMISSIONS`, in its order, as the GLUE server takes them.

    Args:
      folder: made if it is missing; the server takes a zip of its files, one for each test set.
      predictions_N: class indices; of "stsb" numbers on the scale of its labels, which are clipped to [0, 5].

    Returns:
      The file: a line "index<TAB>prediction", then one for each example.

    Raises:
      UserError: an unknown test set; NaN; an index that is no class; no prediction.
      OSError: the file cannot be written.
    """
    name, source = _known(task, SUBMISSIONS)
    labels = GLUE[source].labels
    what = f"predictions of {task}"
    if predictions_N.ndim != 1 or not len(predictions_N):
        raise UserError(
            f"{what} must be one number for each example, not an array of shape {predictions_N.shape}"
        )
    if labels:
        checks.class_indices(predictions_N, what, classes=len(labels))
        cells = [labels[index] if source in _NAMED else str(index) for index in predictions_N.tolist()]
    else:
        checks.finite(predictions_N, what)
        cells = [f"{value:.3f}" for value in np.clip(predictions_N, 0, 5).tolist()]
    lines = ["index\tprediction", *(f"{index}\t{cell}" for index, cell in enumerate(cells))]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    atomic.write_text(path, "\n".join(lines) + "\n")
    return path


def _known(name: str, table: Mapping[str, _Entry]) -> _Entry:
    if name not in table:
        raise UserError(f"{name!r} is not in GLUE: name one of {', '.join(table)}")
    return table[name]


def _row(**per_cent: float | tuple[float, float]) -> dict[str, float]:
    """Fractions; of two metrics of a task, their mean."""
    return {task: round(float(np.mean(points)) / 100, 6) for task, points in per_cent.items()}


def _modernbert_paper(*points: float) -> dict[str, float]:
    """A row of table 5 of Warner et al. 2024 (ModernBERT, arXiv 2412.13663); MRPC, STS-B and QQP have one number."""
    return _row(
        **dict(zip(("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"), points, strict=True))
    )


def _minilm(*points: float) -> dict[str, float]:
    """A row of the MiniLM README (microsoft/unilm)."""
    return _row(**dict(zip(("mnli", "sst2", "qnli", "cola", "rte", "mrpc", "qqp"), points, strict=True)))


PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "BERT-base": _modernbert_paper(59.0, 93.1, 89.5, 89.4, 91.4, 85.4, 91.6, 78.2),
    "BERT-large": _modernbert_paper(56.2, 93.3, 87.8, 90.6, 90.9, 86.3, 92.8, 83.8),
    "RoBERTa-base": _modernbert_paper(63.6, 94.8, 90.2, 91.2, 91.9, 87.6, 92.8, 78.7),
    "DeBERTaV3-base": _modernbert_paper(69.2, 95.6, 89.5, 91.6, 92.4, 90.0, 94.0, 83.8),
    "MosaicBERT-base": _modernbert_paper(58.2, 93.5, 89.0, 90.3, 92.0, 85.6, 91.4, 83.0),
    "NomicBERT-base": _modernbert_paper(50.0, 93.0, 88.0, 90.0, 92.0, 86.0, 92.0, 82.0),
    "GTE-en-MLM-base": _modernbert_paper(57.0, 93.4, 92.1, 90.2, 88.8, 86.7, 91.9, 84.8),
    "ModernBERT-base": _modernbert_paper(65.1, 96.0, 92.2, 91.8, 92.1, 89.1, 93.9, 87.4),
    "ModernBERT-large": _modernbert_paper(71.4, 97.1, 91.7, 92.8, 92.7, 90.8, 95.2, 92.1),
    # README of run_glue.py (huggingface/transformers): 3 epochs, MRPC and WNLI 5, rate 2e-5, batch 32.
    "BERT-base-cased (run_glue)": _row(
        cola=56.53,
        sst2=92.32,
        mrpc=(88.85, 84.07),
        stsb=(88.64, 88.48),
        qqp=(90.71, 87.49),
        mnli=(83.91, 84.10),
        qnli=90.66,
        rte=65.70,
        wnli=56.34,
    ),
    # README of DistilBERT (huggingface/transformers), one number a task.
    "BERT-base-uncased (DistilBERT)": _row(
        cola=56.3, mnli=84.7, mrpc=88.6, qnli=91.8, qqp=89.6, rte=69.3, sst2=92.7, stsb=89.0, wnli=53.5
    ),
    "MiniLM-L12-H384": _minilm(85.7, 93.0, 91.5, 58.5, 73.3, 89.5, 91.3),
    "MiniLM-L6-H384": _minilm(83.3, 91.5, 90.5, 47.5, 68.8, 88.9, 90.6),
    # README of microsoft/DeBERTa; matched and mismatched.
    "DeBERTaV3-large": _row(mnli=(91.8, 91.9)),
    "DeBERTaV3-small": _row(mnli=(88.3, 87.7)),
    "DeBERTaV3-xsmall": _row(mnli=(88.1, 88.3)),
}
"""Scores on the development sets by model and task, as fractions, as their sources give them.

Papers differ in which metric of MRPC, STS-B and QQP they give and in whether RTE, MRPC and STS-B start from an MNLI
run (ModernBERT's do): read differences of a point or two with care.
"""
