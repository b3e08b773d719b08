"""Fine-tuning on questions whose answers are spans of a context: SQuAD 1.1 and 2.0.

What an evaluation set is scored as depends on that set alone. If each of its questions has an answer, the best span
always counts, as in SQuAD 1.1, also of a model that has learnt from questions without one. If some have none, scores are
those of SQuAD 2.0: f1 and exact_match answer "" where the null score is above the best span's (a threshold of 0), best_f1
and best_exact_match where it is by more than the threshold that is best for this very set. A model that has never seen a
question without an answer is scored so too; its null scores mean little, and the tuned threshold shows it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bert_jax.config import FinetuneConfig, HeadConfig, ModelConfig
from bert_jax.errors import ConfigError
from bert_jax.models import bert
from bert_jax.objectives.span import span_objective
from bert_jax.objectives.sums import Objective
from bert_jax.scoring.spans import squad_scores, token_f1
from bert_jax.tasks.finetuning import Finetuning, TaskData, headed, hidden_of
from bert_jax.tasks.predicted import Judged
from bert_jax.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bert_jax.data.labelled.answers import Candidates
    from bert_jax.data.labelled.examples import Examples, QuestionExample
    from bert_jax.data.labelled.features import Features

    _Found = Sequence[tuple[QuestionExample, Candidates]]

_TUNED = ("best_f1", "best_exact_match")
"""Scores at the best threshold: of a set in which questions lack an answer."""
_NONE = "(no answer)"
"""What is shown for ""."""


class QuestionAnswering(Finetuning):
    """The first and the last token of the answer in each window of a context."""

    head_kind = "span"

    def __init__(self, config: FinetuneConfig, model: ModelConfig, tokenizer: Tokenizer, data: TaskData):
        if data.train is not None and data.gold is not None:
            config = _with_select(config, may_be_none=_lack_answers(data.gold))
        super().__init__(config, model, tokenizer, data)

    @classmethod
    def known_scores(cls, config: FinetuneConfig) -> tuple[str, ...]:
        return "f1", "exact_match", *_TUNED

    @classmethod
    def read(
        cls, config: FinetuneConfig, entry: str, *, limit: int, is_training: bool
    ) -> Examples[QuestionExample]:
        from bert_jax.data.labelled.open import read_questions

        return read_questions(
            entry, limit=limit, tfds_dir=config.task.tfds_dir, keep_unmatched=not is_training
        )

    @classmethod
    def features(
        cls,
        config: FinetuneConfig,
        examples: Sequence[QuestionExample],
        tokenizer: Tokenizer,
        labels: tuple[str, ...],
        *,
        types: int,
    ) -> Features:
        from bert_jax.data.labelled.contexts import window_features

        task = config.task
        return window_features(
            examples,
            tokenizer,
            max_length=task.max_length,
            stride=task.stride,
            max_question=task.max_question,
            types=types,
        )

    @classmethod
    def feature_options(cls, config: FinetuneConfig) -> Mapping[str, object]:
        return {"stride": config.task.stride, "max_question": config.task.max_question}

    @classmethod
    def cut_at(cls, config: FinetuneConfig) -> str:
        return f"{config.task.max_question} tokens of the question"

    @classmethod
    def with_head(cls, config: FinetuneConfig, model: ModelConfig, labels: tuple[str, ...]) -> ModelConfig:
        return headed(config, model, HeadConfig(kind="span", hidden=hidden_of(model, "span")))

    @property
    def objective(self) -> Objective:
        return span_objective(bert.BertWithHeads(self.model, ()).apply)

    def score(self, predictions: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        return self._scores(self._found(predictions))

    def judged(self, predictions: Mapping[str, np.ndarray]) -> list[Judged]:
        found = self._found(predictions)
        threshold = self._scores(found)["best_f1_threshold"] if self._may_be_none else np.inf
        rows = []
        for example, candidates in found:
            gold, guess = _texts(example), "" if candidates.no_answer > threshold else candidates.text
            shown = " | ".join(dict.fromkeys(gold))
            badness = 1 - token_f1(guess, gold)
            rows.append(Judged(example.place, example.question, shown or _NONE, guess or _NONE, badness))
        return rows

    def _scores(self, found: _Found) -> dict[str, float]:
        guesses = {example.id: candidates.text for example, candidates in found}
        references = {example.id: _texts(example) for example, _ in found}
        if not self._may_be_none:
            return squad_scores(guesses, references)
        no_answer = {example.id: candidates.no_answer for example, candidates in found}
        return squad_scores(guesses, references, no_answer=no_answer, threshold=0.0)

    @property
    def _may_be_none(self) -> bool:
        """Whether some questions of the evaluated set have no answer."""
        assert self.data.gold is not None
        return _lack_answers(self.data.gold)

    def _found(self, predictions: Mapping[str, np.ndarray]) -> _Found:
        """The examples that were evaluated whole, and what is found for each."""
        from bert_jax.data.labelled.answers import candidates

        features, gold = self.data.eval, self.data.gold
        assert features is not None and gold is not None
        logits_T2, was_seen_S = _by_token(predictions, features)
        # train.eval_batches may end an evaluation before the last window of an example.
        in_part = set(features.examples_S[~was_seen_S].tolist())
        numbers = [number for number in range(len(gold.examples)) if number not in in_part]
        found = candidates(
            gold.examples,
            features,
            logits_T2,
            numbers=numbers,
            n_best=self.config.task.n_best,
            max_answer=self.config.task.max_answer,
            may_be_none=self._may_be_none,
        )
        return list(zip((gold.examples[number] for number in numbers), found, strict=True))


def _texts(example: QuestionExample) -> tuple[str, ...]:
    """The right answers; (): there is none."""
    return tuple(answer.text for answer in example.answers or ())


def _lack_answers(examples: Examples[QuestionExample]) -> bool:
    """Whether some of the questions have no answer."""
    return not all(example.answers for example in examples.examples)


def _with_select(config: FinetuneConfig, *, may_be_none: bool) -> FinetuneConfig:
    """`config` with the usual score for an evaluation set in which questions may have no answer.

    Raises:
      ConfigError: task.select is a score at the best threshold, and each question has an answer.
    """
    given = config.task.select
    if given in _TUNED and not may_be_none:
        raise ConfigError(
            [
                f"config.task.select={given!r} must be f1, exact_match or loss for config.task.eval={config.task.eval!r},"
                " in which each question has an answer"
            ]
        )
    usual = "best_f1" if may_be_none else "f1"
    return dataclasses.replace(config, task=dataclasses.replace(config.task, select=given or usual))


def _by_token(predictions: Mapping[str, np.ndarray], features: Features) -> tuple[np.ndarray, np.ndarray]:
    """(logits [T, 2] in the order of the features' tokens, which windows there are [S])."""
    row_X, slot_X = np.nonzero(predictions["features_BP"] >= 0)
    windows_X = predictions["features_BP"][row_X, slot_X]
    lengths_X = features.lengths_S[windows_X].astype(np.int64)
    within = np.arange(lengths_X.sum()) - np.repeat(np.cumsum(lengths_X) - lengths_X, lengths_X)
    source = np.repeat(predictions["first_BP"][row_X, slot_X], lengths_X) + within
    logits_T2 = np.zeros((len(features.tokens_T), 2), np.float32)
    places = np.repeat(features.starts_S[windows_X], lengths_X) + within
    logits_T2[places] = predictions["token_logits_BLC"][np.repeat(row_X, lengths_X), source]
    was_seen_S = np.zeros(features.units, bool)
    was_seen_S[windows_X] = True
    return logits_T2, was_seen_S
