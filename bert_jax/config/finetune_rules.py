"""The rules that a configuration of fine-tuning keeps. What needs the data or the model is checked by the task."""

from __future__ import annotations

from collections.abc import Iterator

from bert_jax.config.distil import DistilRun
from bert_jax.config.finetune import FinetuneConfig, TaskConfig
from bert_jax.config.phases import borders, schedule_pieces
from bert_jax.config.run_rules import (
    batch_faults,
    effect_faults,
    optim_faults,
    phase_value_faults,
    piece_faults,
    range_faults,
    share_faults,
)

_OF_PRETRAINING = (
    "sequence_length", "batch_size", "masking_rate", "packing", "rotary_base", "rotary_local_base",
)  # fmt: skip


def validate(config: FinetuneConfig) -> list[str]:
    """Every broken rule, as `config.a=1 must be < config.b=0`."""
    return [
        *range_faults(config),
        *effect_faults(config),
        *optim_faults(config.optim),
        *batch_faults(config.train),
        *_task_faults(config),
        *_similarity_faults(config),
        *_schedule_faults(config),
        *_phases_faults(config),
    ]


def accuracy_faults(config: FinetuneConfig, place: str) -> Iterator[str]:
    """What keeps a fine-tuned model's score from being a mean over examples, by which encoders are compared."""
    if config.task.kind != "classification":
        yield (
            f"{place}: config.task.kind={config.task.kind!r} must be 'classification', whose examples are scored one by"
            " one"
        )
    if not config.task.eval:
        yield f"{place}: config.task.eval='' must name the examples that are scored"
    if isinstance(config, DistilRun):
        yield f"{place}: config.distil must be left out: encoders are compared by plain fine-tuning, without a teacher"


def _task_faults(config: FinetuneConfig) -> Iterator[str]:
    task = config.task
    if not task.train:
        yield "config.task.train='' must name the labelled data to train on"
    if task.max_eval_examples and not task.eval:
        yield f"config.task.max_eval_examples={task.max_eval_examples} must go with config.task.eval, or it does nothing"
    if config.train.patience and not task.eval:
        yield f"config.train.patience={config.train.patience} must go with config.task.eval, or it does nothing"
    if task.text_pair and task.pairs == "no":
        yield f"config.task.text_pair={task.text_pair!r} must go with config.task.pairs='auto' or 'yes'"
    if len(set(task.labels)) < len(task.labels):
        yield f"config.task.labels={task.labels} must name each class once"
    if task.kind == "classification" and len(task.labels) == 1:
        yield f"config.task.labels={task.labels} must be two classes or more"
    if task.scheme == "none" and task.entity_mode != TaskConfig.entity_mode:
        yield f"config.task.entity_mode={task.entity_mode!r} must go with tags of entities, not with config.task.scheme='none'"
    if task.stride >= task.max_length:
        yield f"config.task.stride={task.stride} must be < config.task.max_length={task.max_length}"


def _similarity_faults(config: FinetuneConfig) -> Iterator[str]:
    task, train, tuning = config.task, config.train, config.tuning
    if task.kind != "similarity":
        return
    for name in ("label_low", "label_high"):
        if getattr(task, name) is not None and task.loss != "cosine":
            yield (
                f"config.task.{name}={getattr(task, name)} must go with config.task.loss='cosine', or it does nothing"
            )
    if task.label and task.loss == "contrastive" and task.min_label is None and not task.eval:
        yield (
            f"config.task.label={task.label!r} must go with config.task.eval or config.task.min_label: the contrastive loss"
            " reads no numbers"
        )
    if task.label_low is not None and task.label_high is not None and task.label_low >= task.label_high:
        yield f"config.task.label_low={task.label_low} must be < config.task.label_high={task.label_high}"
    if task.loss != "cosine" and config.parallel.mode == "pmap":
        yield (
            f"config.parallel.mode='pmap' must be 'jit' for config.task.loss={task.loss!r}, which compares all pairs of a"
            " step: a device of pmap sees its own alone"
        )
    if task.loss != "cosine" and train.accumulate > 1:
        yield (
            f"config.train.accumulate={train.accumulate} must be 1 for config.task.loss={task.loss!r}, which compares all"
            " pairs of a step: a micro-batch has a part of them"
        )
    if tuning.frozen == "encoder" or tuning.unfreeze_steps or tuning.unfreeze_epochs:
        yield (
            "config.tuning.frozen must not be 'encoder', and unfreeze_* must be 0, for config.task.kind='similarity',"
            " whose head has nothing to train"
        )


def _schedule_faults(config: FinetuneConfig) -> Iterator[str]:
    optim, train, tuning = config.optim, config.train, config.tuning
    if train.steps > 0:  # otherwise the data tells
        yield from piece_faults(optim, train.steps, "config.optim", "config.train.steps")
    if tuning.unfreeze_steps and tuning.unfreeze_epochs:
        yield (
            f"config.tuning.unfreeze_steps={tuning.unfreeze_steps} and unfreeze_epochs={tuning.unfreeze_epochs} must not"
            " both be set"
        )
    if config.phases and (tuning.unfreeze_steps or tuning.unfreeze_epochs or tuning.frozen != "none"):
        yield "config.phases must be empty with config.tuning.frozen or unfreeze_*, which make phases of their own"


def _phases_faults(config: FinetuneConfig) -> Iterator[str]:
    if not config.phases:
        return
    places = [f"config.phases[{number}]" for number in range(len(config.phases))]
    for place, part in zip(places, config.phases, strict=True):
        for name in _OF_PRETRAINING:
            if getattr(part, name) is not None:
                yield f"{place}.{name}={getattr(part, name)} must be None: the phases of fine-tuning share rows and model"
    own = [
        *phase_value_faults(config, places),
        *(share_faults(config, places) if config.train.steps else ()),
    ]
    yield from own
    if own or not config.train.steps:
        return
    for start, stop, optim in schedule_pieces(config):
        place = next(p for p, (first, _) in zip(places, borders(config), strict=True) if first == start)
        yield from piece_faults(optim, stop - start, place, "the steps of its piece of the schedule")
