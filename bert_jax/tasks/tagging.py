"""Fine-tuning on sentences of words: a tag of each, which marks entities or is a class by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from bert_jax.config import FinetuneConfig, HeadConfig, ModelConfig
from bert_jax.config.finetune import TaskConfig
from bert_jax.errors import ConfigError, UserError
from bert_jax.models import bert
from bert_jax.objectives.sums import Objective
from bert_jax.objectives.tagging import tagging_objective
from bert_jax.scoring.classes import classification_scores, confusion_matrix
from bert_jax.scoring.entities import (
    Entity,
    Mode,
    Scheme,
    all_tags,
    convert,
    detect_scheme,
    entities,
    entity_scores,
)
from bert_jax.tasks.finetuning import Finetuning, headed, hidden_of
from bert_jax.tasks.predicted import Confusion, Judged
from bert_jax.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bert_jax.data.labelled.examples import Examples, TaggedExample
    from bert_jax.data.labelled.features import Features

_OF_ENTITIES = re.compile("O|[A-Z]-.+")
# The schemes that each mode reads as they are; tags of others are converted to iob2, which all of them read.
_READ: Mapping[Mode, tuple[Scheme, ...]] = {
    "conll": ("io", "iob1", "iob2"),
    "seqeval": ("io", "iob1", "iob2", "iobes"),
    "strict": ("iob2",),
}
_ENTITY_SCORES = ("f1", "precision", "recall", "accuracy")
_CLASS_SCORES = ("accuracy", "macro_f1")


class _Tagged(NamedTuple):
    """A sentence with what the model says of it."""

    example: TaggedExample
    gold: list[str]
    guess: list[str]


class Tagging(Finetuning):
    """A class of each word."""

    head_kind = "tagging"

    @classmethod
    def known_scores(cls, config: FinetuneConfig) -> tuple[str, ...]:
        if config.task.scheme == "none":
            return _CLASS_SCORES
        if config.task.scheme == "auto":  # the data is not read yet
            return tuple(dict.fromkeys((*_ENTITY_SCORES, *_CLASS_SCORES)))
        return _ENTITY_SCORES

    @classmethod
    def read(
        cls, config: FinetuneConfig, entry: str, *, limit: int, is_training: bool
    ) -> Examples[TaggedExample]:
        from bert_jax.data.labelled.open import Columns, read_tags

        task = config.task
        columns = Columns(text=task.text, label=task.label)
        return read_tags(entry, columns=columns, limit=limit, tfds_dir=task.tfds_dir)

    @classmethod
    def found_options(cls, config: FinetuneConfig, train: Examples[TaggedExample]) -> Mapping[str, str]:
        """The scheme of the tags, if it is to be found."""
        from bert_jax.data.labelled.words import found_tags

        task = config.task
        if task.scheme != "auto":
            return {}
        if all(map(_OF_ENTITIES.fullmatch, found_tags(train.examples))):
            tags = [example.tags or () for example in train.examples]
            try:
                return {"scheme": detect_scheme(tags, labels=task.labels or train.labels)}
            except UserError as error:
                raise UserError(
                    f"config.task.scheme='auto': {task.train}: {error}; with 'none' they are classes of words"
                ) from error
        if task.entity_mode != TaskConfig.entity_mode:
            raise ConfigError(
                [
                    f"config.task.entity_mode={task.entity_mode!r} must go with tags of entities: those of {task.train}"
                    " are classes of words"
                ]
            )
        return {"scheme": "none"}

    @classmethod
    def labels_of(cls, config: FinetuneConfig, train: Examples[TaggedExample]) -> tuple[str, ...]:
        """Of entities that are found every tag of each type, for I-X may come at evaluation where training has B-X."""
        from bert_jax.data.labelled.words import found_tags

        task = config.task
        labels = task.labels or train.labels or found_tags(train.examples)
        if task.scheme != "none":
            scheme = cast(Scheme, task.scheme)
            kinds = sorted({_kind(label, scheme) for label in labels} - {""})
            if not task.labels and not train.labels:
                labels = all_tags(kinds, scheme=scheme)
        if len(labels) < 2:
            raise UserError(
                f"{task.train}: every word has the tag {labels[0]!r}: two tags or more are needed"
            )
        return labels

    @classmethod
    def features(
        cls,
        config: FinetuneConfig,
        examples: Sequence[TaggedExample],
        tokenizer: Tokenizer,
        labels: tuple[str, ...],
        *,
        types: int,
    ) -> Features:
        from bert_jax.data.labelled.words import word_features

        task = config.task
        return word_features(
            examples, tokenizer, labels=labels, max_length=task.max_length, stride=task.stride
        )

    @classmethod
    def feature_options(cls, config: FinetuneConfig) -> Mapping[str, object]:
        return {"stride": config.task.stride}

    @classmethod
    def with_head(cls, config: FinetuneConfig, model: ModelConfig, labels: tuple[str, ...]) -> ModelConfig:
        return headed(
            config, model, HeadConfig(kind="tagging", labels=labels, hidden=hidden_of(model, "tagging"))
        )

    @property
    def objective(self) -> Objective:
        return tagging_objective(bert.BertWithHeads(self.model, ()).apply)

    @property
    def scheme(self) -> Scheme | None:
        """How the tags mark entities; None: they do not."""
        scheme = self.config.task.scheme
        return None if scheme == "none" else cast(Scheme, scheme)

    def score(self, predictions: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Of entities F1, precision and recall, and F1 of each type that the set has; accuracy is always of words."""
        rows = self._tagged(predictions)
        gold_W, guesses_W = self._numbers(rows)
        of_words = classification_scores(gold_W, guesses_W, names=self.data.labels)
        if self.scheme is None:
            return {name: of_words[name] for name in _CLASS_SCORES}
        mode = self.config.task.entity_mode
        gold, guesses = [row.gold for row in rows], [row.guess for row in rows]
        if self.scheme not in _READ[mode]:
            gold, guesses = (
                [convert(tags, source=self.scheme, to="iob2") for tags in each] for each in (gold, guesses)
            )
        scores = entity_scores(gold, guesses, mode=mode) | {"accuracy": of_words["accuracy"]}
        kinds = sorted({entity.kind for row in rows for entity in self._entities(row.gold)})
        return {name: scores.get(name, 0.0) for name in (*_ENTITY_SCORES, *(f"f1/{kind}" for kind in kinds))}

    def judged(self, predictions: Mapping[str, np.ndarray]) -> list[Judged]:
        """Badness is the number of entities that are missed or wrong, or of words with a wrong class."""
        return [
            Judged(
                row.example.place,
                " ".join(row.example.words),
                self._readable(row.example.words, row.gold),
                self._readable(row.example.words, row.guess),
                float(self._wrong(row)),
            )
            for row in self._tagged(predictions)
        ]

    def confusion(self, predictions: Mapping[str, np.ndarray]) -> Confusion:
        """Of the words' tags; of those that mark entities their types, O being none."""
        gold_W, guesses_W = self._numbers(self._tagged(predictions))
        labels = self.data.labels
        if self.scheme is not None:
            kinds = [_kind(label, self.scheme) or "O" for label in labels]
            labels = tuple(dict.fromkeys(kinds))
            number_C = np.array([labels.index(kind) for kind in kinds])
            gold_W, guesses_W = number_C[gold_W], number_C[guesses_W]
        return Confusion(labels, confusion_matrix(gold_W, guesses_W, classes=len(labels)))

    def _tagged(self, predictions: Mapping[str, np.ndarray]) -> list[_Tagged]:
        """The sentences in order, without those of which an evaluation that was cut short has not seen every word.

        Raises:
          UserError: a word whose scores are not finite.
        """
        assert self.data.gold is not None
        words_BL, names = predictions["words_BL"], np.array(self.data.labels)
        there_BL = words_BL >= 0
        words_N, tags_N = words_BL[there_BL], predictions["tags_BL"][there_BL]
        if bad := int((tags_N < 0).sum()):
            raise UserError(
                f"the scores of {bad:,} of {len(tags_N):,} words are NaN or infinite: lower config.optim.learning_rate"
            )
        examples: Sequence[TaggedExample] = self.data.gold.examples
        ends = np.cumsum([len(example.words) for example in examples])
        guesses_W = np.full(ends[-1], -1)
        guesses_W[words_N] = tags_N
        rows = []
        for example, guess in zip(examples, np.split(guesses_W, ends[:-1]), strict=True):
            if (guess >= 0).all():
                rows.append(_Tagged(example, list(example.tags or ()), names[guess].tolist()))
        return rows

    def _numbers(self, rows: Sequence[_Tagged]) -> tuple[np.ndarray, np.ndarray]:
        """(tags that are right [W], predicted tags [W]) of the words of all sentences."""
        number = {label: i for i, label in enumerate(self.data.labels)}
        gold = [number[tag] for row in rows for tag in row.gold]
        guesses = [number[tag] for row in rows for tag in row.guess]
        return np.array(gold, np.int64), np.array(guesses, np.int64)

    def _entities(self, tags: Sequence[str]) -> list[Entity]:
        assert self.scheme is not None
        return entities(tags, scheme=self.scheme)

    def _wrong(self, row: _Tagged) -> int:
        if self.scheme is None:
            return sum(map(str.__ne__, row.gold, row.guess))
        return len(set(self._entities(row.gold)) ^ set(self._entities(row.guess)))

    def _readable(self, words: Sequence[str], tags: Sequence[str]) -> str:
        """ "[EU](ORG) rejects", or "EU/NNP rejects/VBZ"."""
        if self.scheme is None:
            return " ".join(f"{word}/{tag}" for word, tag in zip(words, tags, strict=True))
        shown = list(words)
        for entity in self._entities(tags):
            shown[entity.start] = f"[{shown[entity.start]}"
            shown[entity.stop - 1] += f"]({entity.kind})"
        return " ".join(shown)


def _kind(label: str, scheme: Scheme) -> str:
    """The type of entity that a tag marks; "": none.

    Raises:
      UserError: the scheme has no such tag.
    """
    try:
        found = entities([label], scheme=scheme)
    except UserError as error:
        raise UserError(f"config.task.scheme={scheme!r}: among the tags, {error}") from None
    return found[0].kind if found else ""
