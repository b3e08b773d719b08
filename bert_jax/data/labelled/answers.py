"""From the scores of tokens to the text of an answer: the spans with the best sum of two logits (NumPy only)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.data.labelled.examples import QuestionExample
from bert_jax.data.labelled.features import Features
from bert_jax.errors import UserError


class Span(NamedTuple):
    """A part of a context that may be the answer."""

    text: str
    """`context[start:end]`, without white space at its ends"""
    start: int
    end: int
    score: float
    """logit of its first token + logit of its last"""
    probability: float
    """softmax over the spans that were found and, if that is possible, no answer"""


class Candidates(NamedTuple):
    """What a model finds in a context for a question."""

    spans: tuple[Span, ...]
    """each once, the best first; (): the context has no text"""
    null_score: float
    """of no answer: the sum of the two logits of [CLS], the smallest of all windows"""
    null_probability: float
    """0.0 where an answer must be given"""

    @property
    def text(self) -> str:
        """The best span's."""
        return self.spans[0].text if self.spans else ""

    @property
    def no_answer(self) -> float:
        """How sure the model is that there is no answer: the null score less the best span's."""
        return self.null_score - (self.spans[0].score if self.spans else 0.0)


def candidates(
    examples: Sequence[QuestionExample],
    features: Features,
    logits_T2: np.ndarray,
    *,
    numbers: Iterable[int],
    n_best: int,
    max_answer: int,
    may_be_none: bool,
) -> Iterator[Candidates]:
    """What is found for each of the examples `numbers`, over all of its windows.

    In each window the `n_best` tokens of the context with the largest start logits are paired with the `n_best` with the
    largest end logits (the released code of BERT, and Hugging Face's). A span is kept with its best score. Ties go to the
    earlier and then the shorter span.

    Args:
      features: `contexts.window_features` of `examples`.
      logits_T2: of all tokens of `features`: as first and as last token.
      n_best: also spans that are kept.
      max_answer: tokens of a span at most.
      may_be_none: whether no answer takes part in the softmax.

    Raises:
      UserError: a logit is NaN or infinite.
    """
    starts_S, spans_T2 = features.starts_S, features.kept["spans_T2"]
    borders = np.searchsorted(features.examples_S, np.arange(len(examples) + 1))
    for number in numbers:
        example = examples[number]
        windows = []
        for window in range(borders[number], borders[number + 1]):
            tokens = slice(starts_S[window], starts_S[window] + features.lengths_S[window])
            windows.append((spans_T2[tokens], logits_T2[tokens].astype(np.float64)))
        if not all(np.isfinite(logits_L2).all() for _, logits_L2 in windows):
            raise UserError(
                f"{example.place}: the model's scores of the tokens are NaN or infinite: if it was just trained, lower"
                " config.optim.learning_rate"
            )
        scored = _scored(windows, n_best, max_answer)
        found = list(itertools.islice(_distinct(example.context, scored), n_best))
        yield _with_probabilities(found, min(logits_L2[0].sum() for _, logits_L2 in windows), may_be_none)


_Windows = Sequence[tuple[np.ndarray, np.ndarray]]
"""(characters [L, 2], logits [L, 2]) of each window"""


def _scored(windows: _Windows, n_best: int, max_answer: int) -> Iterator[tuple[int, int, float]]:
    """(from character, to character, score) of the pairs that are tried, best first."""
    pairs_X3 = np.concatenate([_pairs(*window, n_best, max_answer) for window in windows])
    if not len(pairs_X3):  # every end that was tried lies before every start
        pairs_X3 = np.concatenate([_pairs(*window, len(window[0]), max_answer) for window in windows])
    starts_X, ends_X, scores_X = pairs_X3.T
    for x in np.lexsort((ends_X, starts_X, -scores_X)):
        yield int(starts_X[x]), int(ends_X[x]), float(scores_X[x])


def _pairs(spans_L2: np.ndarray, logits_L2: np.ndarray, n_best: int, max_answer: int) -> np.ndarray:
    """[X, 3]: (from character, to character, score) of a window's pairs that are spans."""
    places_K = np.flatnonzero(spans_L2[:, 0] >= 0)
    order_K2 = np.argsort(-logits_L2[places_K], axis=0, kind="stable")[:n_best]
    firsts_N, lasts_N = places_K[order_K2].T
    lengths_NN = lasts_N[None] - firsts_N[:, None] + 1
    i, j = np.nonzero((lengths_NN > 0) & (lengths_NN <= max_answer))
    firsts_X, lasts_X = firsts_N[i], lasts_N[j]
    scores_X = logits_L2[firsts_X, 0] + logits_L2[lasts_X, 1]
    return np.stack([spans_L2[firsts_X, 0], spans_L2[lasts_X, 1], scores_X], axis=1)


def _distinct(context: str, scored: Iterable[tuple[int, int, float]]) -> Iterator[Span]:
    """Each text once, without white space at its ends, which is part of a token in some vocabularies."""
    seen = set()
    for start, end, score in scored:
        text = context[start:end]
        start += len(text) - len(text.lstrip())
        text = text.strip()
        if text and (start, len(text)) not in seen:
            seen.add((start, len(text)))
            yield Span(text, start, start + len(text), score, 0.0)


def _with_probabilities(spans: Sequence[Span], null_score: float, may_be_none: bool) -> Candidates:
    scores_X = np.array([*(span.score for span in spans), *([null_score] if may_be_none else [])])
    exponentials_X = np.exp(scores_X - scores_X.max(initial=-np.inf))
    shares = (exponentials_X / exponentials_X.sum()).tolist()
    found = [span._replace(probability=share) for span, share in zip(spans, shares, strict=False)]
    return Candidates(tuple(found), float(null_score), shares[-1] if may_be_none else 0.0)
