"""Fine-tuning on pairs of texts that are encoded apart: how alike two texts are is the cosine of their vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bert_jax.config import FinetuneConfig, HeadConfig, ModelConfig
from bert_jax.errors import UserError
from bert_jax.models import bert
from bert_jax.objectives.similarity import similarity_objective
from bert_jax.objectives.sums import Objective
from bert_jax.scoring.regression import regression_scores
from bert_jax.tasks.finetuning import Finetuning, TaskData, headed
from bert_jax.tasks.predicted import Judged, by_sequence
from bert_jax.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bert_jax.data.labelled.examples import Examples, TextExample
    from bert_jax.data.labelled.features import Features


class Similarity(Finetuning):
    """A vector for each text, learnt from pairs with a number each, or from pairs alone (the contrastive loss)."""

    head_kind = "embedding"

    def __init__(self, config: FinetuneConfig, model: ModelConfig, tokenizer: Tokenizer, data: TaskData):
        super().__init__(with_range(config, data.train), model, tokenizer, data)

    @classmethod
    def known_scores(cls, config: FinetuneConfig) -> tuple[str, ...]:
        own = {"cosine": ("mse",), "cosent": (), "contrastive": ("partner_accuracy",)}
        return "spearman", "pearson", *own[config.task.loss]

    @classmethod
    def read(
        cls, config: FinetuneConfig, entry: str, *, limit: int, is_training: bool
    ) -> Examples[TextExample]:
        """Pairs with numbers; of the contrastive loss's training those of task.min_label or more, or all without."""
        from bert_jax.data.labelled.open import Columns, read_texts

        task = config.task
        is_contrastive = is_training and task.loss == "contrastive"
        return read_texts(
            entry,
            columns=Columns(text=task.text, text_pair=task.text_pair, label=task.label),
            pair=True,
            label="number",
            labelled=not is_contrastive or task.min_label is not None,
            least=task.min_label if is_contrastive else None,
            keep_empty=False,
            limit=limit,
            tfds_dir=task.tfds_dir,
        )

    @classmethod
    def features(
        cls,
        config: FinetuneConfig,
        examples: Sequence[TextExample],
        tokenizer: Tokenizer,
        labels: tuple[str, ...],
        *,
        types: int,
    ) -> Features:
        from bert_jax.data.labelled.pairs import pair_features

        return pair_features(examples, tokenizer, max_length=config.task.max_length)

    @classmethod
    def with_head(cls, config: FinetuneConfig, model: ModelConfig, labels: tuple[str, ...]) -> ModelConfig:
        pooling = config.task.pooling
        if pooling == "auto":
            pooling = model.head.pooling if model.head.kind == "embedding" else "mean"
        return headed(config, model, HeadConfig(kind="embedding", pooling=pooling))

    @property
    def objective(self) -> Objective:
        task = self.config.task
        apply = bert.BertWithHeads(self.model, ()).apply
        if task.loss != "cosine":
            return similarity_objective(apply, loss=task.loss, scale=task.scale)
        assert task.label_low is not None and task.label_high is not None, "training found them"
        return similarity_objective(
            apply, loss="cosine", scale=task.scale, low=task.label_low, high=task.label_high
        )

    def score(self, predictions: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """The correlations alone: `mse` is a mean that the loss of the cosines reports, in their units."""
        scores = regression_scores(*self._found(predictions))
        # A model that finds all pairs alike correlates with nothing: 0, which is no better than chance.
        return {name: float(np.nan_to_num(scores[name])) for name in ("spearman", "pearson")}

    def judged(self, predictions: Mapping[str, np.ndarray]) -> list[Judged]:
        """Badness is how far a pair's place by cosine is from its place by number, as a share of all places."""
        assert self.data.gold is not None
        targets_N, cosines_N = self._found(predictions)
        away_N = np.abs(_ranks(targets_N) - _ranks(cosines_N)) / max(len(targets_N) - 1, 1)
        examples: Sequence[TextExample] = self.data.gold.examples
        rows = zip(examples, targets_N.tolist(), cosines_N.tolist(), away_N.tolist(), strict=True)
        return [
            Judged(e.place, f"{e.text} ‖ {e.text_pair}", f"{target:g}", f"{cosine:.3f}", away)
            for e, target, cosine, away in rows
        ]

    def _found(self, predictions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(numbers that are right, cosines) of the pairs, each [N]."""
        assert self.data.eval is not None
        cosines_N, ids_N = by_sequence(predictions, "cosines_BP")
        return self.data.eval.of_sequences["targets_P"][2 * ids_N], cosines_N


def with_range(config: FinetuneConfig, train: Features | None) -> FinetuneConfig:
    """`config` with the numbers that stand for a cosine of 0 and of 1: those given, or the least and the largest of
    training. They go into the workdir's configuration, so that evaluation has the same.

    Raises:
      UserError: all pairs have one number, so that there is nothing to learn, or the range is none.
    """
    task = config.task
    if train is None or task.loss == "contrastive":
        return config
    targets_S = train.of_sequences["targets_P"]
    least, largest = (float(str(value)) for value in (targets_S.min(), targets_S.max()))  # 4.8, not 4.8000002
    has_range = None not in (task.label_low, task.label_high)
    if least == largest and not has_range:
        raise UserError(
            f"{task.train}: every pair has the number {least:g}: two or more are needed for config.task.loss={task.loss}"
        )
    if task.loss != "cosine":
        return config
    low = least if task.label_low is None else task.label_low
    high = largest if task.label_high is None else task.label_high
    if low >= high:
        raise UserError(
            f"{task.train}: config.task.label_low={low:g} must be < config.task.label_high={high:g}: training has numbers"
            f" from {least:g} to {largest:g}"
        )
    return dataclasses.replace(config, task=dataclasses.replace(task, label_low=low, label_high=high))


def _ranks(values_N: np.ndarray) -> np.ndarray:
    """Places by value from 1; equal values share their mean place."""
    from scipy import stats

    return stats.rankdata(values_N)
