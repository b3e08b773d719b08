"""Questions with their contexts as features: windows over each context, and where the answer lies in each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bert_jax.data.labelled.examples import QuestionExample
from bert_jax.data.labelled.features import Features
from bert_jax.progress import bar
from bert_jax.text.tokenizer import Tokenizer, Window

_AT_ONCE = 1024  # examples tokenised together


def window_features(
    examples: Sequence[QuestionExample],
    tokenizer: Tokenizer,
    *,
    max_length: int,
    stride: int,
    max_question: int,
    types: int,
) -> Features:
    """A sequence for each window: [CLS] question [SEP] part of the context [SEP], as the model takes a pair.

    `of_positions` has starts_P and ends_P, the first and last token of the first answer that the context holds; 0, which
    is [CLS], where the window does not hold all of it, and where there is none (Devlin et al. 2019, section 4.3, and the
    released code). `kept` has spans_T2, int32: the characters of the context that a token stands for, from and to; -1 of
    tokens that are not of the context. `cut` counts the questions that were longer than `max_question`.

    Args:
      max_length: tokens of a window, those of the question and the special ones included.
      stride: tokens of the context that neighbouring windows share; 0: a third of `max_length`.
      max_question: tokens of a question that are kept.
      types: segment types that the model tells apart.

    Raises:
      UserError: a question that leaves no room for its context.
    """
    windows: list[Window] = []
    numbers: list[int] = []
    answers: list[tuple[int, int]] = []
    cut = 0
    firsts = range(0, len(examples), _AT_ONCE)
    for first in bar(firsts, description="tokenising", unit="batches", delay=1.0):
        part = examples[first : first + _AT_ONCE]
        # Space before a question has tokens of its own in some vocabularies, and says nothing.
        whole = [example.question.lstrip() for example in part]
        questions = tokenizer.cut_texts(whole, tokens=max_question)
        cut += sum(len(short) < len(long) for short, long in zip(questions, whole, strict=True))
        contexts = [example.context for example in part]
        encoded = tokenizer.encode_windows(
            questions, contexts, max_length=max_length, stride=stride or max_length // 3
        )
        for number, (example, found) in enumerate(zip(part, encoded, strict=True), first):
            windows += found
            numbers += [number] * len(found)
            answers += [_tokens_of_answer(example, window.spans_L2) for window in found]
    starts_S, ends_S = np.array(answers, np.int32).T
    type_ids_T = np.concatenate([window.type_ids for window in windows])
    return Features(
        tokens_T=np.concatenate([window.ids for window in windows]),
        type_ids_T=np.minimum(type_ids_T, max(types - 1, 0)),
        lengths_S=np.array([len(window.ids) for window in windows], np.int32),
        examples_S=np.array(numbers, np.int32),
        of_positions={"starts_P": starts_S, "ends_P": ends_S},
        kept={"spans_T2": np.concatenate([window.spans_L2 for window in windows])},
        cut=cut,
    )


def _tokens_of_answer(example: QuestionExample, spans_L2: np.ndarray) -> tuple[int, int]:
    """The first and last token of the example's answer in a window; (0, 0): the window does not hold it."""
    answer = next((answer for answer in example.answers or () if answer.start >= 0), None)
    places = np.flatnonzero(spans_L2[:, 0] >= 0)
    if answer is None or not len(places):
        return 0, 0
    start = answer.start + len(answer.text) - len(answer.text.lstrip())
    end = answer.start + len(answer.text.rstrip())
    starts_K, ends_K = spans_L2[places].T
    if start < starts_K[0] or end > ends_K[-1]:
        return 0, 0
    # Both ascend. Several tokens may share one character (bytes of an emoji), a token may have none (a lone space).
    first = int(np.searchsorted(ends_K, start, side="right"))
    last = int(np.searchsorted(starts_K, end, side="left")) - 1
    return (int(places[first]), int(places[last])) if first <= last else (0, 0)
