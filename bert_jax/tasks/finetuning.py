"""What all fine-tuning has in common: features in shared rows, phases, an encoder with a task head, whole sets scored.

A kind of task is a subclass in a file of its own: how it reads examples, makes features, loses and scores.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import numpy as np

from bert_jax.batch import BatchSource, Host, Split
from bert_jax.config import FinetuneConfig, HeadConfig, ModelConfig
from bert_jax.config.finetune import settled, tuned_model
from bert_jax.config.head import HeadKind, Hidden
from bert_jax.config.options import replaced
from bert_jax.config.phases import borders
from bert_jax.config.run import PhaseConfig
from bert_jax.errors import ConfigError
from bert_jax.interop import native
from bert_jax.interop.families import FAMILIES
from bert_jax.models import bert
from bert_jax.models.flops import training_flops
from bert_jax.tasks.predicted import Confusion, Judged
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training.task import Metric, Params, Phase, Task

if TYPE_CHECKING:
    from bert_jax.data.labelled.batches import EvaluationBatches, TrainingBatches
    from bert_jax.data.labelled.examples import Examples
    from bert_jax.data.labelled.features import Features

Part = Literal["train", "eval", "test"]

# What a family's models have between the encoder and a head on its [CLS] state.
_POOLER = {"deberta": "gelu", "deberta_v2": "gelu"}


class TaskData(NamedTuple):
    """The labelled data of a run: what the model reads of it, and the examples that are scored."""

    train: Features | None
    """None: the run is only scored"""
    eval: Features | None
    gold: Examples[Any] | None
    """the examples of `eval`"""
    labels: tuple[str, ...]
    """names of the classes in the order of their ids; (): there are none"""
    identity: Mapping[str, str]
    """digests of what was read"""
    notes: tuple[str, ...]
    """what was passed over or cut, a line each"""
    options: Mapping[str, Any] = MappingProxyType({})
    """values of config.task that the training examples decided"""


class Finetuning(Task):
    """An encoder with a task head, trained on labelled examples.

    Args:
      model: with the head.
    """

    name = "finetune"
    head_kind: HeadKind

    # What a kind of task says -----------------------------------------------------------------------------

    @classmethod
    @abc.abstractmethod
    def known_scores(cls, config: FinetuneConfig) -> tuple[str, ...]:
        """Names of the scores that can choose the best checkpoint, the usual one first."""

    @classmethod
    @abc.abstractmethod
    def read(cls, config: FinetuneConfig, entry: str, *, limit: int, is_training: bool) -> Examples[Any]: ...

    @classmethod
    def found_options(cls, config: FinetuneConfig, train: Examples[Any]) -> Mapping[str, Any]:
        """Values of those options of config.task that are left to the training examples.

        Raises:
          UserError: the examples do not decide.
        """
        return {}

    @classmethod
    def labels_of(cls, config: FinetuneConfig, train: Examples[Any]) -> tuple[str, ...]:
        """Names of the classes in the order of their ids.

        Raises:
          UserError: the examples do not make a task.
        """
        return ()

    @classmethod
    @abc.abstractmethod
    def features(
        cls,
        config: FinetuneConfig,
        examples: Sequence[Any],
        tokenizer: Tokenizer,
        labels: tuple[str, ...],
        *,
        types: int,
    ) -> Features:
        """types: segment types that the model tells apart."""

    @classmethod
    def feature_options(cls, config: FinetuneConfig) -> Mapping[str, object]:
        """Options that decide the features besides kind and max_length."""
        return {}

    @classmethod
    def cut_at(cls, config: FinetuneConfig) -> str:
        """What the examples that `Features.cut` counts were cut at."""
        return f"{config.task.max_length} tokens"

    @classmethod
    @abc.abstractmethod
    def with_head(cls, config: FinetuneConfig, model: ModelConfig, labels: tuple[str, ...]) -> ModelConfig:
        """`model` with the head and the pooler of the task, in the form of its family's class in Hugging Face."""

    @abc.abstractmethod
    def judged(self, predictions: Mapping[str, np.ndarray]) -> list[Judged]:
        """Every example of the evaluated set, in its order."""

    def confusion(self, predictions: Mapping[str, np.ndarray]) -> Confusion | None:
        """None: there are no classes."""
        return None

    # What is the same for all -----------------------------------------------------------------------------

    def __init__(self, config: FinetuneConfig, model: ModelConfig, tokenizer: Tokenizer, data: TaskData):
        config = _with_options(config, data.options)
        if data.train is not None:
            config = settled(config, examples=data.train.units, layers=model.num_layers)
        self.config, self.model, self.tokenizer, self.data = config, model, tokenizer, data
        self.select = self.selected(config)
        faults = [*_faults(config, model)]
        if faults:
            raise ConfigError(faults)

    @classmethod
    def selected(cls, config: FinetuneConfig) -> Metric:
        """The score that the best checkpoint has the best of.

        Raises:
          ConfigError: task.select is no score of this kind of task.
        """
        known = (*cls.known_scores(config), "loss")
        name = config.task.select or known[0]
        if name not in known:
            raise ConfigError(
                [
                    f"config.task.select={name!r} must be one of {', '.join(known)} for"
                    f" task.kind={config.task.kind!r}"
                ]
            )
        return Metric(name, "min" if name in ("loss", "mse") else "max")

    @classmethod
    def read_data(
        cls,
        config: FinetuneConfig,
        tokenizer: Tokenizer,
        *,
        types: int,
        known: tuple[str, ...] = (),
        part: Part | None = None,
    ) -> TaskData:
        """Reads and tokenises task.train and task.eval, or `part` alone to be scored.

        types: segment types that the model tells apart. known: labels of a head that goes on, in its order.

        Raises:
          UserError: a file that cannot be read, examples that make no task, or a label at evaluation that training
            lacks.
        """
        task = config.task
        entries = {"train": task.train, "eval": task.eval, "test": task.test}
        limits = {"train": task.max_train_examples, "eval": task.max_eval_examples, "test": 0}
        wanted: tuple[Part, ...] = ("train", "eval") if part is None else (part,)
        found = {
            name: cls.read(
                config, entries[name], limit=limits[name], is_training=name == "train" and not part
            )
            for name in wanted
            if entries[name]
        }
        labels, options = known, dict[str, Any]()
        notes, features = [], dict[str, Any]()
        if part is None:
            options = dict(cls.found_options(config, found["train"]))
            config = _with_options(config, options)
            notes += [
                f"config.task.{name}={value!r}, found in {task.train}" for name, value in options.items()
            ]
            labels = cls.labels_of(config, found["train"])
            labels = known if set(known) == set(labels) else labels
        for name, examples in found.items():
            features[name] = _cached(cls, config, examples, tokenizer, labels, types)
            notes.append(f"{entries[name]}: {_said(cls, config, examples, features[name])}")
        identity = {name: examples.digest for name, examples in found.items()}
        scored: Part = part or "eval"
        return TaskData(
            features.get("train") if part is None else None,
            features.get(scored),
            found.get(scored),
            labels,
            identity | {"tokenizer": _digest(tokenizer)},
            tuple(notes),
            options,
        )

    def init(self, key: jax.Array) -> Params:
        return bert.init_params(self.model, key, ())

    @property
    def identity(self) -> Mapping[str, str]:
        return self.data.identity

    @functools.cached_property
    def phases(self) -> tuple[Phase, ...]:
        config = self.config
        data = self.data.train or self.data.eval
        assert data is not None, "a run is trained or scored"
        layout = self._layout(data)
        tokens = self.training(Host()).tokens if self.data.train else 0.0
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
        return self.training(host) if split == "train" else self.evaluation(host)

    def evaluation(self, host: Host) -> EvaluationBatches | None:
        """One pass over the examples that are scored; None: there are none."""
        from bert_jax.data.labelled.batches import EvaluationBatches

        if self.data.eval is None:
            return None
        layout = self._layout(self.data.eval)
        return EvaluationBatches(self.data.eval, layout, batch_size=self.config.train.batch_size, host=host)

    def training(self, host: Host) -> TrainingBatches:
        """The batches of the run, by step."""
        from bert_jax.data.labelled.batches import TrainingBatches

        config = self.config
        assert self.data.train is not None, "a run that is only scored does not train"
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
        return Layout.of(features, batching=config.task.batching, batch_size=config.train.batch_size)

    def save(self, workdir: Path) -> None:
        self.tokenizer.save(workdir, max_length=self.model.max_positions)
        native.write_config(workdir, self.model)


def hidden_of(model: ModelConfig, kind: HeadKind) -> Hidden:
    """What a state passes before the output layer in the class that Hugging Face has for the family."""
    task = FAMILIES[model.family].task(HeadConfig(kind=kind))
    return "pooler" if task is None else task.hidden


def headed(
    config: FinetuneConfig, model: ModelConfig, head: HeadConfig, *, pooler: bool = False
) -> ModelConfig:
    """`model` with `head`, run as the configuration says; with `pooler` it has one, or gets its family's, else none."""
    kept: Any = model.pooler if pooler else "none"
    if pooler and kept == "none":  # its parameters begin fresh
        kept = _POOLER.get(model.family, "tanh")
    if model.relative.mask_decoder:  # its absolute positions are of no use to a task head
        model = replaced(model, {"relative.mask_decoder": False, "position_offset": 0})
    return tuned_model(config, dataclasses.replace(model, pooler=kept, head=head))


def _faults(config: FinetuneConfig, model: ModelConfig) -> list[str]:
    """What does not fit the model."""
    faults = []
    if config.task.max_length > model.max_positions:
        faults.append(
            f"config.task.max_length={config.task.max_length} must be <= {model.max_positions}, the positions of the model"
        )
    shared = model.sharing != "none"
    if shared and (config.optim.layer_decay != 1 or config.tuning.reinitialize or config.phases):
        faults.append(
            "config.optim.layer_decay, tuning.frozen, tuning.unfreeze_* and tuning.reinitialize must keep their defaults"
            f" for a model whose layers share parameters (sharing={model.sharing!r})"
        )
    if config.tuning.reinitialize > model.num_layers:
        faults.append(
            f"config.tuning.reinitialize={config.tuning.reinitialize} must be <= {model.num_layers}, the layers of the model"
        )
    return faults


def _with_options(config: FinetuneConfig, options: Mapping[str, Any]) -> FinetuneConfig:
    return dataclasses.replace(config, task=dataclasses.replace(config.task, **options))


def _cached(
    task: type[Finetuning],
    config: FinetuneConfig,
    examples: Examples[Any],
    tokenizer: Tokenizer,
    labels: tuple[str, ...],
    types: int,
) -> Features:
    from bert_jax.data.labelled.features import cached

    folder = Path(os.environ.get("BERT_JAX_DATA") or "~/.cache/bert_jax").expanduser() / "features"
    key: dict[str, object] = {
        "data": examples.digest,
        "tokenizer": _digest(tokenizer),
        "kind": config.task.kind,
        "labels": labels,
    }
    key |= {"max_length": config.task.max_length, "types": types, **task.feature_options(config)}
    return cached(
        folder, key, lambda: task.features(config, examples.examples, tokenizer, labels, types=types)
    )


def _said(task: type[Finetuning], config: FinetuneConfig, examples: Examples[Any], features: Features) -> str:
    """How many examples there are, and what became of the others."""
    parts = [f"{len(examples.examples):,} examples"]
    parts += [f"{count:,} passed over: {reason}" for reason, count in examples.skipped.items() if count]
    parts += [f"{features.cut:,} cut at {task.cut_at(config)}"] if features.cut else []
    if features.units > len(examples.examples):
        parts.append(f"read in {features.units:,} windows of up to {config.task.max_length} tokens")
    return ", ".join(parts)


def _digest(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(tokenizer.backend.to_str().encode()).hexdigest()[:16]
