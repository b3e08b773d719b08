"""Answers to questions: spans of their contexts, found as an evaluation finds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bert_jax.errors import UserError
from bert_jax.prediction.batches import by_length
from bert_jax.prediction.encoder import Encoder

if TYPE_CHECKING:
    from bert_jax.data.labelled.answers import Candidates, Span
    from bert_jax.data.labelled.features import Features

_LENGTH = 384


class AnswerOptions(NamedTuple):
    """How contexts are read and answers are chosen; the same names as in config.task."""

    null_threshold: float | None = None
    """None: there always is an answer; else "" where the null score is above the best span's by more than this"""
    max_length: int = 0
    """tokens of a window; 0: BERT's 384, or the positions of the model if they are fewer"""
    stride: int = 0
    """tokens of the context that neighbouring windows share; 0: a third of max_length"""
    max_question: int = 64
    max_answer: int = 30
    """tokens of an answer at most"""
    n_best: int = 20
    """first and last tokens of each window that are tried in pairs, and candidates that are kept"""


@dataclasses.dataclass(frozen=True)
class Answered:
    """What a model answers."""

    text: str
    """`context[start:end]`; "": the context holds no answer"""
    start: int | None
    """characters; None: no answer"""
    end: int | None
    score: float
    """logit of the first token + logit of the last, of no answer those of [CLS]"""
    probability: float
    """softmax over the candidates and, where that is possible, no answer"""
    no_answer: float
    """the null score less the best span's: the larger, the less there is an answer"""
    candidates: tuple[Span, ...]
    """the best spans, best first: text, start, end, score, probability"""


def answer(
    model: Encoder,
    questions: Sequence[str],
    contexts: Sequence[str],
    options: AnswerOptions = AnswerOptions(),
) -> list[Answered]:
    """The answer to each question in its context; long contexts are read in windows.

    Raises:
      UserError: the model has no head for spans; another number of contexts; an empty text; a question that leaves no
        room for its context; an option out of its range.
    """
    from bert_jax.data.labelled.answers import candidates
    from bert_jax.data.labelled.contexts import window_features
    from bert_jax.data.labelled.examples import QuestionExample

    options = _checked(model, questions, contexts, options)
    if not questions:
        return []
    examples = [
        QuestionExample(str(number), question, context, None, f"question {number}")
        for number, (question, context) in enumerate(zip(questions, contexts, strict=True), 1)
    ]
    features = window_features(
        examples,
        model.tokenizer,
        max_length=options.max_length,
        stride=options.stride,
        max_question=options.max_question,
        types=model.config.type_vocab_size,
    )
    found = candidates(
        examples,
        features,
        _logits(model, features),
        numbers=range(len(examples)),
        n_best=options.n_best,
        max_answer=options.max_answer,
        may_be_none=options.null_threshold is not None,
    )
    return [_answered(each, options.null_threshold) for each in found]


def _answered(found: Candidates, threshold: float | None) -> Answered:
    if not found.spans or (threshold is not None and found.no_answer > threshold):
        return Answered(
            "", None, None, found.null_score, found.null_probability, found.no_answer, found.spans
        )
    return Answered(*found.spans[0], found.no_answer, found.spans)


def _logits(model: Encoder, features: Features) -> np.ndarray:
    """Scores of all tokens of `features` as first and as last token, float32 [T, 2]."""
    logits_T2 = np.empty((len(features.tokens_T), 2), np.float32)
    starts_S, lengths_S = features.starts_S, features.lengths_S
    for windows in by_length(lengths_S.tolist()):
        tokens = [slice(starts_S[window], starts_S[window] + lengths_S[window]) for window in windows]
        output = model.compute(
            [features.tokens_T[part].tolist() for part in tokens],
            [features.type_ids_T[part].tolist() for part in tokens],
        )
        assert output.token_logits_BLC is not None, "a model with such a head gives them"
        for part, logits_LC in zip(tokens, np.asarray(output.token_logits_BLC), strict=True):
            logits_T2[part] = logits_LC[: part.stop - part.start]
    return logits_T2


def _checked(
    model: Encoder, questions: Sequence[str], contexts: Sequence[str], options: AnswerOptions
) -> AnswerOptions:
    """The options with the length of windows."""
    if model.config.head.kind != "span":
        raise UserError(
            f"the model's task head is {model.config.head.kind!r}, must be 'span' to answer questions: bert-jax finetune"
            " trains one (config.task.kind=question_answering)"
        )
    if len(questions) != len(contexts):
        raise UserError(f"{len(questions)} questions must go with as many contexts, not with {len(contexts)}")
    for what, texts in (("question", questions), ("context", contexts)):
        empty = next((number for number, text in enumerate(texts, 1) if not text.strip()), None)
        if empty is not None:
            raise UserError(f"{what} {empty} of {len(texts)} is empty: there is nothing to answer")
    most = model.config.max_positions
    options = options._replace(max_length=options.max_length or min(_LENGTH, most))
    ranges = {
        "max_length": (8, most),
        "stride": (0, options.max_length - 1),
        "max_question": (1, None),
        "max_answer": (1, None),
        "n_best": (1, None),
    }
    for name, (least, largest) in ranges.items():
        value = getattr(options, name)
        if value < least or (largest is not None and value > largest):
            bounds = f">= {least}" if largest is None else f"in {least}..{largest}"
            raise UserError(f"{name}={value} must be {bounds}")
    return options
