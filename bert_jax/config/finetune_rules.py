"""The rules that a configuration of fine-tuning keeps. What needs the data or the model is checked by the task."""

from __future__ import annotations

from collections.abc import Iterator

from bert_jax.config.finetune import FinetuneConfig
from bert_jax.config.phases import borders, schedule_pieces
from bert_jax.config.run_rules import (
    batch_faults,
    effect_faults,
    phase_value_faults,
    piece_faults,
    range_faults,
    rate_faults,
    share_faults,
)

_OF_ROWS = ("sequence_length", "batch_size", "masking_rate", "packing")


def validate(config: FinetuneConfig) -> list[str]:
    """Every broken rule, as `config.a=1 must be < config.b=0`."""
    return [
        *range_faults(config),
        *effect_faults(config),
        *rate_faults(config.optim),
        *batch_faults(config.train),
        *_task_faults(config),
        *_schedule_faults(config),
        *_phases_faults(config),
    ]


def _task_faults(config: FinetuneConfig) -> Iterator[str]:
    task = config.task
    if not task.train:
        yield "config.task.train='' must name the labelled data to train on"
    for name in ("train", "eval", "test"):
        cap = getattr(task, f"max_{name}_examples")
        if cap and not getattr(task, name):
            yield f"config.task.max_{name}_examples={cap} must go with config.task.{name}, or it does nothing"
    if task.stride >= task.max_length - 2:
        yield f"config.task.stride={task.stride} must be < config.task.max_length - 2 = {task.max_length - 2}"
    if task.kind == "answering" and task.max_question + 3 >= task.max_length:
        yield (
            f"config.task.max_question={task.max_question} must be < config.task.max_length - 3 ="
            f" {task.max_length - 3}: a context needs room"
        )
    if len(set(task.labels)) < len(task.labels):
        yield f"config.task.labels={task.labels} must name each class once"
    if task.labels and task.kind in ("regression", "answering", "similarity"):
        yield f"config.task.labels={task.labels} must go with classes, not with config.task.kind={task.kind!r}"
    if len(task.labels) == 1:
        yield f"config.task.labels={task.labels} must be two classes or more"
    if task.kind == "similarity":
        yield from _similarity_faults(config)


def _similarity_faults(config: FinetuneConfig) -> Iterator[str]:
    task = config.task
    if task.label_range and (len(task.label_range) != 2 or task.label_range[0] >= task.label_range[1]):
        yield f"config.task.label_range={task.label_range} must be the lowest and the highest label"
    if task.loss == "cosine_mse":
        return
    if config.train.accumulate != 1:
        yield (
            f"config.train.accumulate={config.train.accumulate} must be 1 for config.task.loss={task.loss!r}, which"
            " compares all texts of a batch"
        )
    if config.parallel.mode == "pmap":
        yield (
            f"config.parallel.mode='pmap' must be 'jit' for config.task.loss={task.loss!r}, which compares all texts of"
            " a batch"
        )


def _schedule_faults(config: FinetuneConfig) -> Iterator[str]:
    optim, train, tuning = config.optim, config.train, config.tuning
    if train.steps:  # otherwise the data tells
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
        for name in _OF_ROWS:
            if getattr(part, name) is not None:
                yield f"{place}.{name}={getattr(part, name)} must be None: the phases of fine-tuning share their rows"
    own = [
        *phase_value_faults(config.phases, places),
        *(share_faults(config, places) if config.train.steps else ()),
    ]
    yield from own
    if own or not config.train.steps:
        return
    for start, stop, optim in schedule_pieces(config):
        place = next(p for p, (first, _) in zip(places, borders(config), strict=True) if first == start)
        yield from piece_faults(optim, stop - start, place, "the steps of its piece of the schedule")
