"""Fine-tuning on labelled texts: one class, several labels, or a number for each text or pair."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from bert_jax.batch import BatchSource, Host, Split
from bert_jax.config import FinetuneConfig, HeadConfig, ModelConfig
from bert_jax.config.finetune import settled, tuned_model
from bert_jax.config.head import HeadKind
from bert_jax.config.phases import borders
from bert_jax.config.schema import PhaseConfig
from bert_jax.errors import ConfigError, UserError
from bert_jax.interop import native
from bert_jax.models import bert
from bert_jax.models.flops import training_flops
from bert_jax.objectives.sums import Objective
from bert_jax.objectives.texts import text_objective
from bert_jax.scoring.classes import classification_scores, multilabel_scores
from bert_jax.scoring.regression import regression_scores
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training.task import Metric, Params, Phase, Task

if TYPE_CHECKING:
    from bert_jax.data.labelled.batches import TrainingBatches
    from bert_jax.data.labelled.examples import Examples, TextExample
    from bert_jax.data.labelled.features import Features

_SELECT = {"classification": "accuracy", "multilabel": "micro_f1", "regression": "pearson"}
_SCORES = {
    "classification": ("accuracy", "matthews", "f1", "macro_f1", "micro_f1"),
    "multilabel": ("micro_f1", "macro_f1", "exact_match"),
    "regression": ("pearson", "spearman", "mse"),
}
_LABEL_KIND = {"classification": "class", "multilabel": "classes", "regression": "number"}
# What reads a text's [CLS] state in the classes of Hugging Face: the pooler, or a layer of the head's own.
_HIDDEN = {"roberta": "tanh", "electra": "gelu", "distilbert": "relu"}
_POOLER = {"deberta": "gelu", "deberta_v2": "gelu"}


def select_of(config: FinetuneConfig) -> Metric:
    """The score that the best checkpoint has the best of.

    Raises:
      ConfigError: task.select is no score of this kind of task.
    """
    kind = config.task.kind
    name = config.task.select or _SELECT[kind]
    known = (*_SCORES[kind], "loss")
    if name not in known:
        raise ConfigError(
            [f"config.task.select={name!r} must be one of {', '.join(known)} for task.kind={kind!r}"]
        )
    return Metric(name, "min" if name in ("loss", "mse") else "max")


class TextData(NamedTuple):
    """The labelled texts of a run, as the model reads them."""

    train: Features
    eval: Features | None
    labels: tuple[str, ...]
    """names of the classes in the order of their ids; () of numbers"""
    identity: Mapping[str, str]
    """digests of what was read"""
    notes: tuple[str, ...]
    """what was passed over or cut, a line each"""


def read_data(
    config: FinetuneConfig, tokenizer: Tokenizer, *, types: int, known: tuple[str, ...] = ()
) -> TextData:
    """Reads and tokenises task.train and task.eval.

    types: segment types that the model tells apart. known: labels of a head that goes on, in its order.

    Raises:
      UserError: a file that cannot be read, fewer than two classes, or a label at evaluation that training lacks.
    """
    from bert_jax.data.labelled.texts import found_labels

    task = config.task
    train = _read(config, task.train, task.max_train_examples)
    evaluated = _read(config, task.eval, task.max_eval_examples) if task.eval else None
    labels: tuple[str, ...] = ()
    if task.kind != "regression":
        labels = task.labels or train.labels or found_labels(train.examples)
        labels = known if set(known) == set(labels) else labels
        if task.kind == "classification" and len(labels) < 2:
            raise UserError(
                f"{task.train}: every example has the label {labels[0]!r}: two classes or more are needed"
            )
    notes: list[str] = []
    features = {}
    for name, entry, examples in (("train", task.train, train), ("eval", task.eval, evaluated)):
        if examples is None:
            continue
        features[name] = _features(config, examples, tokenizer, labels, types)
        skipped = [f"{count:,} passed over: {reason}" for reason, count in examples.skipped.items() if count]
        cut = features[name].cut
        skipped += [f"{cut:,} cut at {task.max_length} tokens"] if cut else []
        notes.append(
            f"{entry}: {len(examples.examples):,} examples" + "".join(f", {note}" for note in skipped)
        )
    identity = {"train": train.digest, "tokenizer": _digest(tokenizer)}
    identity |= {"eval": evaluated.digest} if evaluated else {}
    return TextData(features["train"], features.get("eval"), labels, identity, tuple(notes))


def _read(config: FinetuneConfig, entry: str, limit: int) -> Examples[TextExample]:
    from bert_jax.data.labelled.open import Columns, read_texts

    task = config.task
    return read_texts(
        entry,
        columns=Columns(text=task.text, text_pair=task.text_pair, label=task.label),
        pair={"auto": None, "yes": True, "no": False}[task.pairs],
        label=_LABEL_KIND[task.kind],  # type: ignore[arg-type]
        limit=limit,
        tfds_dir=task.tfds_dir,
    )


def _features(
    config: FinetuneConfig,
    examples: Examples[TextExample],
    tokenizer: Tokenizer,
    labels: tuple[str, ...],
    types: int,
) -> Features:
    from bert_jax.data.labelled.features import cached
    from bert_jax.data.labelled.texts import text_features

    task = config.task
    folder = Path(os.environ.get("BERT_JAX_DATA") or "~/.cache/bert_jax").expanduser() / "features"
    key = {"data": examples.digest, "tokenizer": _digest(tokenizer), "kind": task.kind, "labels": labels}
    return cached(
        folder,
        key | {"max_length": task.max_length, "types": types},
        lambda: text_features(
            examples.examples,
            tokenizer,
            target=task.kind,
            labels=labels,
            max_length=task.max_length,
            types=types,
        ),
    )


def _digest(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(tokenizer.backend.to_str().encode()).hexdigest()[:16]


def model_with_head(config: FinetuneConfig, model: ModelConfig, labels: tuple[str, ...]) -> ModelConfig:
    """`model` with the head of the task, in the form of its family's class in Hugging Face."""
    hidden: Any = _HIDDEN.get(model.family, "pooler")
    pooler: Any = model.pooler
    if hidden != "pooler":
        pooler = "none"
    elif pooler == "none":  # a model without one gets the family's, with fresh parameters
        pooler = _POOLER.get(model.family, "tanh")
    kind: HeadKind = config.task.kind
    head = HeadConfig(kind=kind, labels=labels, hidden=hidden)
    if model.enhanced_mask_decoder:  # its absolute positions are of no use to a task head
        model = dataclasses.replace(model, enhanced_mask_decoder=False, position_offset=0)
    return tuned_model(config, dataclasses.replace(model, pooler=pooler, head=head))


class Finetuning(Task):
    """An encoder with a task head, trained on labelled texts.

    Args:
      model: with the head.
    """

    name = "finetune"

    def __init__(self, config: FinetuneConfig, model: ModelConfig, tokenizer: Tokenizer, data: TextData):
        self.config = settled(config, examples=data.train.units, layers=model.num_layers)
        self.model, self.tokenizer, self.data = model, tokenizer, data
        self.select = select_of(config)
        if self.config.task.max_length > model.max_positions:
            raise ConfigError(
                [
                    f"config.task.max_length={config.task.max_length} must be <= {model.max_positions}, the positions of"
                    " the model"
                ]
            )
        shared = model.sharing != "none"
        if shared and (config.optim.layer_decay != 1 or config.tuning.reinitialize or self.config.phases):
            raise ConfigError(
                [
                    "config.optim.layer_decay, tuning.frozen, tuning.unfreeze_* and tuning.reinitialize must keep their"
                    f" defaults for a model whose layers share parameters (sharing={model.sharing!r})"
                ]
            )
        if config.tuning.reinitialize > model.num_layers:
            raise ConfigError(
                [
                    f"config.tuning.reinitialize={config.tuning.reinitialize} must be <= {model.num_layers}, the layers"
                    " of the model"
                ]
            )

    @property
    def objective(self) -> Objective:
        return text_objective(bert.BertWithHeads(self.model, ()).apply, kind=self.config.task.kind)

    def init(self, key: jax.Array) -> Params:
        return bert.init_params(self.model, key, ())

    @property
    def identity(self) -> Mapping[str, str]:
        return self.data.identity

    @functools.cached_property
    def phases(self) -> tuple[Phase, ...]:
        config = self.config
        layout, tokens = self._layout(self.data.train), self._training(Host()).tokens
        flops = training_flops(self.model, length=layout.length, slots=0, heads=())
        parts = config.phases or (PhaseConfig(),)
        return tuple(
            Phase(
                start=start,
                stop=stop,
                batch_size=config.train.batch_size,
                spec=layout.spec,
                flops=flops * tokens / layout.length,
                packed=True,
                tokens=tokens,
                first_row=start * config.train.batch_size,
                frozen=part.frozen,
            )
            for part, (start, stop) in zip(parts, borders(config), strict=True)
        )

    def batches(self, split: Split, phase: Phase, host: Host) -> BatchSource | None:
        from bert_jax.data.labelled.batches import EvaluationBatches

        if split == "train":
            return self._training(host)
        if self.data.eval is None:
            return None
        layout = self._layout(self.data.eval)
        return EvaluationBatches(self.data.eval, layout, batch_size=self.config.train.batch_size, host=host)

    def _training(self, host: Host) -> TrainingBatches:
        from bert_jax.data.labelled.batches import TrainingBatches

        config = self.config
        return TrainingBatches(
            self.data.train,
            self._layout(self.data.train),
            batch_size=config.train.batch_size,
            batching=config.task.batching,
            seed=config.seed,
            host=host,
        )

    def _layout(self, features: Features) -> Any:
        from bert_jax.data.labelled.batches import Layout

        config = self.config
        return Layout.of(
            features,
            batching=config.task.batching,
            batch_size=config.train.batch_size,
            classes=max(1, len(self.data.labels)),
        )

    def score(self, predictions: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        if self.data.eval is None:
            return {}
        logits_NC, ids_N = predicted(predictions)
        gold = self.data.eval.of_sequences
        if self.config.task.kind == "regression":
            found = regression_scores(gold["targets_P"][ids_N], logits_NC[:, 0])
        elif self.config.task.kind == "multilabel":
            found = multilabel_scores(gold["labels_PC"][ids_N] > 0, logits_NC > 0)
        else:
            guesses_N = logits_NC.argmax(axis=1)
            found = classification_scores(gold["labels_P"][ids_N], guesses_N, names=self.data.labels)
        # A model that says the same of every text correlates with nothing: 0, which is no better than chance.
        return {name: 0.0 if np.isnan(value) else float(value) for name, value in found.items()}

    def save(self, workdir: Path) -> None:
        self.tokenizer.save(workdir, max_length=self.model.max_positions)
        native.write_config(workdir, self.model)


def predicted(predictions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(logits [N, C], numbers [N]) of the sequences of an evaluation, by number.

    Raises:
      UserError: a logit that is not finite.
    """
    ids_BP = predictions["features_BP"]
    there_BP = ids_BP >= 0
    ids_N, logits_NC = ids_BP[there_BP], predictions["logits_BPC"][there_BP]
    order = np.argsort(ids_N, kind="stable")
    bad = np.flatnonzero(~np.isfinite(logits_NC).all(axis=1))
    if len(bad):
        raise UserError(
            f"{len(bad):,} of {len(ids_N):,} predictions are NaN or infinite, the first is of example"
            f" {ids_N[bad].min() + 1}: lower config.optim.learning_rate"
        )
    return logits_NC[order], ids_N[order]
