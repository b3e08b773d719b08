"""Scores of extractive question answering, equal to the official SQuAD scripts' (theirs are per cent).

SQuAD 1.1: Rajpurkar et al. 2016, evaluate-v1.1.py. SQuAD 2.0, with questions that have no answer: Rajpurkar, Jia and
Liang 2018, evaluate-v2.0.py.
"""

from __future__ import annotations

import collections
import math
import re
import string
from collections.abc import Collection, Mapping, Sequence

from bert_jax.errors import UserError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, words parted by one space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(prediction: str, golds: Sequence[str]) -> float:
    """1.0 if `prediction` equals one of `golds` once both are normalized, else 0.0. No golds: the answer is ""."""
    return float(normalize_answer(prediction) in {normalize_answer(gold) for gold in golds or ("",)})


def token_f1(prediction: str, golds: Sequence[str]) -> float:
    """The best F1 between the normalized words of `prediction` and of one of `golds`. No golds: the answer is "".

    Where one of the two has no words, it is 1.0 if neither has, else 0.0 (SQuAD 2.0).
    """
    return max(
        _f1(normalize_answer(prediction).split(), normalize_answer(gold).split()) for gold in golds or ("",)
    )


def squad_scores(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    no_answer: Mapping[str, float] | None = None,
    threshold: float | None = None,
) -> dict[str, float]:
    """Scores of answers to questions by id, as fractions: "exact_match" and "f1".

    With a question without an answer, or with `no_answer`, they are those of SQuAD 2.0, and there are also
    "has_answer_exact_match", "has_answer_f1" and "no_answer_accuracy", of the questions with and without an answer;
    and with `no_answer` "best_exact_match", "best_exact_threshold", "best_f1", "best_f1_threshold": the threshold to
    answer "" above, chosen on these very questions. That threshold is 0.0 where "" to every question is best.

    A question without a prediction counts as wrong, in "missing" too; the official scripts leave it out in 2.0.

    Args:
      predictions: the answer; "" says that there is none.
      references: the right answers; none: the question has no answer.
      no_answer: for each prediction, how sure the model is that there is no answer; any scale.
      threshold: a prediction with a higher `no_answer` counts as "". None: predictions count as they are.

    Raises:
      UserError: no question; an id without a question; a `no_answer` that is missing or not finite.
    """
    _check(predictions, references, no_answer, threshold)
    second = no_answer is not None or not all(references.values())
    score = _score_2 if second else _score_1
    raw = {key: score(predictions[key], golds) for key, golds in references.items() if key in predictions}
    final = {key: raw.get(key, (0.0, 0.0)) for key in references}
    if no_answer is not None and threshold is not None:
        refused = {key for key in raw if no_answer[key] > threshold}
        final |= {key: (float(not references[key]),) * 2 for key in refused}
    exact, f1 = _means(final, references)
    scores = {"exact_match": exact, "f1": f1}
    if second:
        answered = [key for key, golds in references.items() if golds]
        unanswerable = [key for key, golds in references.items() if not golds]
        if answered:
            scores["has_answer_exact_match"], scores["has_answer_f1"] = _means(final, answered)
        if unanswerable:
            scores["no_answer_accuracy"], _ = _means(final, unanswerable)
    if no_answer is not None:
        names = (("best_exact_match", "best_exact_threshold"), ("best_f1", "best_f1_threshold"))
        for place, (best, at) in enumerate(names):
            points = {key: pair[place] for key, pair in raw.items()}
            scores[best], scores[at] = _best_threshold(predictions, references, points, no_answer)
    missing = len(references) - len(raw)
    return scores | ({"missing": float(missing)} if missing else {})


def _score_1(prediction: str, golds: Sequence[str]) -> tuple[float, float]:
    """(exact match, F1) of SQuAD 1.1, in which an answer without words has an F1 of 0."""
    f1 = token_f1(prediction, golds) if normalize_answer(prediction) else 0.0
    return exact_match(prediction, golds), f1


def _score_2(prediction: str, golds: Sequence[str]) -> tuple[float, float]:
    """(exact match, F1) of SQuAD 2.0, in which a gold answer without words is left out."""
    golds = [gold for gold in golds if normalize_answer(gold)]
    return exact_match(prediction, golds), token_f1(prediction, golds)


def _f1(predicted: Sequence[str], gold: Sequence[str]) -> float:
    if not predicted or not gold:
        return float(not predicted and not gold)
    shared = (collections.Counter(predicted) & collections.Counter(gold)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(gold)
    return (
        2 * precision * recall / (precision + recall)
    )  # the scripts' own arithmetic: thresholds hang on ties


def _means(pairs: Mapping[str, tuple[float, ...]], ids: Collection[str]) -> tuple[float, float]:
    exact, f1 = zip(*(pairs[key] for key in ids), strict=True)
    return math.fsum(exact) / len(ids), math.fsum(f1) / len(ids)


def _best_threshold(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    points: Mapping[str, float],
    no_answer: Mapping[str, float],
) -> tuple[float, float]:
    """(mean of `points` at the best threshold, that threshold).

    As in the official script it starts from "" to every question and takes the predictions one by one, surest first,
    those with equal `no_answer` in the mapping's order.
    """
    total = best = float(sum(not references[key] for key in points))
    threshold = 0.0
    for key in sorted(no_answer, key=no_answer.__getitem__):
        total += points[key] if references[key] else -float(bool(predictions[key]))
        if total > best:
            best, threshold = total, no_answer[key]
    return best / len(references), float(threshold)


def _check(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    no_answer: Mapping[str, float] | None,
    threshold: float | None,
) -> None:
    if not references:
        raise UserError("0 questions have no score: give at least one")
    unknown = [key for key in predictions if key not in references]
    if unknown:
        raise UserError(
            f"a prediction must answer one of the {len(references)} questions: {len(unknown)} of {len(predictions)}"
            f" have another id, the first is {unknown[0]!r}"
        )
    if no_answer is None:
        if threshold is not None:
            raise ValueError(f"threshold={threshold} does nothing without no_answer")
        return
    for here, there, message in (
        (predictions, no_answer, "a prediction must have a no-answer score"),
        (no_answer, predictions, "a no-answer score must be of a question with a prediction"),
    ):
        lone = [key for key in here if key not in there]
        if lone:
            raise UserError(f"{message}: {len(lone)} of {len(here)} are not so, the first is {lone[0]!r}")
    bad = [key for key, value in no_answer.items() if not math.isfinite(value)]
    if bad:
        raise UserError(
            f"no-answer scores must be finite: {len(bad)} of {len(no_answer)} are NaN or infinite,"
            f" the first is {no_answer[bad[0]]} of question {bad[0]!r}"
        )
