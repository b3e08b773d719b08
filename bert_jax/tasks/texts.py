"""Fine-tuning on texts or pairs of texts: one class, any number of labels, or a number for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_jax.config import FinetuneConfig, HeadConfig, ModelConfig
from bert_jax.config.head import OF_TEXTS
from bert_jax.errors import ConfigError, UserError
from bert_jax.models import bert
from bert_jax.objectives.sums import Objective
from bert_jax.objectives.texts import text_objective
from bert_jax.scoring.classes import classification_scores, confusion_matrix, multilabel_scores
from bert_jax.scoring.regression import regression_scores
from bert_jax.tasks.finetuning import Finetuning, headed, hidden_of
from bert_jax.tasks.predicted import Confusion, Judged, by_sequence
from bert_jax.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bert_jax.data.labelled.examples import Examples, TextExample
    from bert_jax.data.labelled.features import Features


class _Texts(Finetuning):
    """What is learnt is a row of scores for each text."""

    label_kind: Any

    @classmethod
    def read(
        cls, config: FinetuneConfig, entry: str, *, limit: int, is_training: bool
    ) -> Examples[TextExample]:
        from bert_jax.data.labelled.open import Columns, read_texts

        task = config.task
        return read_texts(
            entry,
            columns=Columns(text=task.text, text_pair=task.text_pair, label=task.label),
            pair={"auto": None, "yes": True, "no": False}[task.pairs],
            label=cls.label_kind,
            limit=limit,
            tfds_dir=task.tfds_dir,
        )

    @classmethod
    def labels_of(cls, config: FinetuneConfig, train: Examples[TextExample]) -> tuple[str, ...]:
        from bert_jax.data.labelled.texts import found_labels

        return config.task.labels or train.labels or found_labels(train.examples)

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
        from bert_jax.data.labelled.texts import text_features

        return text_features(
            examples,
            tokenizer,
            target=cls.head_kind,  # type: ignore[arg-type]
            labels=labels,
            max_length=config.task.max_length,
            types=types,
        )

    @classmethod
    def with_head(cls, config: FinetuneConfig, model: ModelConfig, labels: tuple[str, ...]) -> ModelConfig:
        hidden = hidden_of(model, cls.head_kind)
        if config.task.pooling == "mean" and hidden == "pooler":
            raise ConfigError(
                [
                    f"config.task.pooling='mean' must be 'auto' or 'cls' for a {model.family} model, whose pooler reads the"
                    " state of [CLS]"
                ]
            )
        was = model.head.pooling if model.head.kind in OF_TEXTS else "cls"
        pooling = was if config.task.pooling == "auto" else config.task.pooling
        head = HeadConfig(kind=cls.head_kind, labels=labels, hidden=hidden, pooling=pooling)
        return headed(config, model, head, pooler=hidden == "pooler")

    @property
    def objective(self) -> Objective:
        apply = bert.BertWithHeads(self.model, ()).apply
        return text_objective(apply, kind=self.head_kind)  # type: ignore[arg-type]

    def _row(self, number: int, gold: str, guess: str, badness: float) -> Judged:
        assert self.data.gold is not None
        example: TextExample = self.data.gold.examples[number]
        text = example.text if example.text_pair is None else f"{example.text} ‖ {example.text_pair}"
        return Judged(example.place, text, gold, guess, badness)


class Classification(_Texts):
    """One class of each text or pair."""

    head_kind, label_kind = "classification", "class"

    @classmethod
    def known_scores(cls, config: FinetuneConfig) -> tuple[str, ...]:
        return "accuracy", "matthews", "f1", "macro_f1", "micro_f1"

    @classmethod
    def labels_of(cls, config: FinetuneConfig, train: Examples[TextExample]) -> tuple[str, ...]:
        labels = super().labels_of(config, train)
        if len(labels) < 2:
            raise UserError(
                f"{config.task.train}: every example has the label {labels[0]!r}: two classes or more are needed"
            )
        return labels

    def score(self, predictions: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        gold_N, guesses_N, _ = self._found(predictions)
        return classification_scores(gold_N, guesses_N, names=self.data.labels)

    def judged(self, predictions: Mapping[str, np.ndarray]) -> list[Judged]:
        names = self.data.labels
        gold_N, guesses_N, logits_NC = self._found(predictions)
        # How much more probable the guess is than what is right, as log odds.
        odds_N = logits_NC.max(axis=1) - np.take_along_axis(logits_NC, gold_N[:, None], 1)[:, 0]
        rows = zip(gold_N.tolist(), guesses_N.tolist(), odds_N.tolist(), strict=True)
        return [
            self._row(number, names[gold], names[guess], odds if gold != guess else 0.0)
            for number, (gold, guess, odds) in enumerate(rows)
        ]

    def confusion(self, predictions: Mapping[str, np.ndarray]) -> Confusion:
        gold_N, guesses_N, _ = self._found(predictions)
        labels = self.data.labels
        return Confusion(labels, confusion_matrix(gold_N, guesses_N, classes=len(labels)))

    def _found(self, predictions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(classes that are right [N], predicted classes [N], logits [N, C])"""
        assert self.data.eval is not None
        logits_NC, ids_N = by_sequence(predictions, "logits_BPC")
        return self.data.eval.of_sequences["labels_P"][ids_N], logits_NC.argmax(axis=1), logits_NC


class Multilabel(_Texts):
    """Any number of labels of each text or pair."""

    head_kind, label_kind = "multilabel", "classes"

    @classmethod
    def known_scores(cls, config: FinetuneConfig) -> tuple[str, ...]:
        return "micro_f1", "macro_f1", "exact_match"

    def score(self, predictions: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        assert self.data.eval is not None
        logits_NC, ids_N = by_sequence(predictions, "logits_BPC")
        return multilabel_scores(self.data.eval.of_sequences["labels_PC"][ids_N] > 0, logits_NC > 0)

    def judged(self, predictions: Mapping[str, np.ndarray]) -> list[Judged]:
        assert self.data.eval is not None
        logits_NC, ids_N = by_sequence(predictions, "logits_BPC")
        gold_NC = self.data.eval.of_sequences["labels_PC"][ids_N] > 0
        wrong_NC = gold_NC != (logits_NC > 0)
        return [
            self._row(
                number,
                self._names(gold_NC[number]),
                self._names(logits_NC[number] > 0),
                float(np.abs(logits_NC[number])[wrong_NC[number]].sum()),
            )
            for number in range(len(ids_N))
        ]

    def _names(self, is_set_C: np.ndarray) -> str:
        return (
            ", ".join(label for label, there in zip(self.data.labels, is_set_C, strict=True) if there)
            or "none"
        )


class Regression(_Texts):
    """A number for each text or pair."""

    head_kind, label_kind = "regression", "number"

    @classmethod
    def known_scores(cls, config: FinetuneConfig) -> tuple[str, ...]:
        return "pearson", "spearman", "mse"

    @classmethod
    def labels_of(cls, config: FinetuneConfig, train: Examples[TextExample]) -> tuple[str, ...]:
        return ()

    def score(self, predictions: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        targets_N, found_N = self._found(predictions)
        scores = regression_scores(targets_N, found_N)
        # A model that says the same of every text correlates with nothing: 0, which is no better than chance.
        return {name: 0.0 if np.isnan(value) else float(value) for name, value in scores.items()}

    def judged(self, predictions: Mapping[str, np.ndarray]) -> list[Judged]:
        rows = zip(*(values_N.tolist() for values_N in self._found(predictions)), strict=True)
        return [
            self._row(number, f"{target:g}", f"{found:.3g}", abs(target - found))
            for number, (target, found) in enumerate(rows)
        ]

    def _found(self, predictions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        assert self.data.eval is not None
        logits_NC, ids_N = by_sequence(predictions, "logits_BPC")
        return self.data.eval.of_sequences["targets_P"][ids_N], logits_NC[:, 0]
