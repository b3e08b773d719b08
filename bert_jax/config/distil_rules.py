"""The rules that the group `distil` keeps. What needs the two models is checked by the task."""

from __future__ import annotations

from collections.abc import Iterator

from bert_jax.config.distil import (
    LOSSES,
    RELATIONS,
    DistilConfig,
    DistilFinetuneConfig,
    DistilPretrainConfig,
    DistilRun,
)

# Options that do nothing unless one of these losses has a weight.
_OF_LOSSES: dict[str, tuple[str, ...]] = {
    "temperature": ("soft",),
    "soft_at": ("soft",),
    "embedding": ("soft",),
    "relation_heads": RELATIONS,
    "relation_layer": ("attention_kl", *RELATIONS),
    "layer_map": ("hidden_mse", "attention_mse"),
    "cache_top": ("soft",),
}
_OF_QUIRKS = {"padding": ("hidden_mse", "attention_mse"), "mean_of_classes": ("soft",)}
_OF_CACHE = ("cache_top", "cache_type", "cache_gigabytes", "cache_directory")
_OF_ATTENTION = ("attention_mse", "attention_kl", *RELATIONS)


def validate(config: DistilRun) -> Iterator[str]:
    """Every broken rule of config.distil beside those of the rest."""
    distil = config.distil
    if not any(getattr(distil, name) for name in LOSSES):
        named = ", ".join(f"distil.{name}" for name in LOSSES)
        yield f"one of config.{named} must be > 0: without a loss that reads the teacher nothing is distilled"
    yield from _unread_options(distil)
    if distil.cache:
        yield from _cache_faults(
            distil, _OF_ATTENTION, "logits and hidden states are kept, nothing of attention"
        )
    for name in ("layer_map", "student_layers"):
        if any(layer < 0 for layer in getattr(distil, name)):
            yield f"config.distil.{name}={getattr(distil, name)} must be layers, counted from 0"
    if isinstance(config, DistilPretrainConfig):
        yield from _pretraining_faults(config)
    if isinstance(config, DistilFinetuneConfig):
        yield from _finetuning_faults(config)


def _unread_options(distil: DistilConfig) -> Iterator[str]:
    defaults = DistilConfig()

    def is_read(losses: tuple[str, ...]) -> bool:
        return any(getattr(distil, name) for name in losses)

    for option, losses in _OF_LOSSES.items():
        value = getattr(distil, option)
        if value != getattr(defaults, option) and not is_read(losses):
            yield f"config.distil.{option}={value!r} must go with {_named(losses)} > 0, or it does nothing"
    for option in _OF_CACHE:
        value = getattr(distil, option)
        if value != getattr(defaults, option) and not distil.cache:
            yield f"config.distil.{option}={value!r} must go with config.distil.cache=True, or it does nothing"
    for quirk in distil.quirks:
        if not is_read(_OF_QUIRKS[quirk]):
            yield f"config.distil.quirks={quirk} must go with {_named(_OF_QUIRKS[quirk])} > 0, or it does nothing"


def _cache_faults(distil: DistilConfig, losses: tuple[str, ...], reason: str) -> Iterator[str]:
    """The losses that no cache can feed."""
    for name in losses:
        if value := getattr(distil, name):
            yield f"config.distil.{name}={value} must be 0 with config.distil.cache=True: {reason}"


def _pretraining_faults(config: DistilPretrainConfig) -> Iterator[str]:
    distil = config.distil
    if config.objective.name != "mlm":
        yield f"config.objective.name={config.objective.name!r} must be 'mlm' for distillation"
    if config.objective.z_loss and not distil.hard:
        yield (
            f"config.objective.z_loss={config.objective.z_loss} must go with config.distil.hard > 0, or it does nothing:"
            " it is part of the student's own loss"
        )
    if distil.embedding != DistilConfig().embedding:
        yield f"config.distil.embedding={distil.embedding!r} must go with config.task.kind='similarity'"
    if "mean_of_classes" in distil.quirks:
        yield "config.distil.quirks=mean_of_classes must go with config.task.kind='classification'"
    if distil.cache and distil.soft and distil.cache_top > config.tokenizer.vocab_size:
        yield (
            f"config.distil.cache_top={distil.cache_top} must be <= config.tokenizer.vocab_size="
            f"{config.tokenizer.vocab_size}"
        )
    packing = max([config.data.packing, *(phase.packing or 1 for phase in config.phases)])
    if "padding" in distil.quirks and packing > 1:
        yield f"config.distil.quirks=padding must go with config.data.packing=1, it is {packing}"


def _finetuning_faults(config: DistilFinetuneConfig) -> Iterator[str]:
    distil, task = config.distil, config.task
    if distil.cache:
        yield from _cache_faults(
            distil,
            ("hidden_cosine", "hidden_mse"),
            "rows are packed anew each epoch, so the teacher's scores alone are kept",
        )
        if distil.cache_top != DistilConfig().cache_top:
            yield f"config.distil.cache_top={distil.cache_top} must go with pretraining: of a task all scores are kept"
    if distil.soft_at != "masked":
        yield f"config.distil.soft_at={distil.soft_at!r} must go with pretraining: a task says where it predicts"
    if distil.embedding != DistilConfig().embedding and task.kind != "similarity":
        yield f"config.distil.embedding={distil.embedding!r} must go with config.task.kind='similarity', it is {task.kind!r}"
    if distil.temperature != DistilConfig().temperature and task.kind in ("regression", "similarity"):
        yield (
            f"config.distil.temperature={distil.temperature} must go with a task of classes: numbers and vectors have no"
            f" temperature (config.task.kind={task.kind!r})"
        )
    if "mean_of_classes" in distil.quirks and task.kind != "classification":
        yield f"config.distil.quirks=mean_of_classes must go with config.task.kind='classification', it is {task.kind!r}"
    if "padding" in distil.quirks and task.batching != "pad":
        yield f"config.distil.quirks=padding must go with config.task.batching='pad', it is {task.batching!r}"
    if distil.student_layers and config.tuning.weights == "random":
        yield "config.distil.student_layers must be empty with config.tuning.weights='random', which takes no parameters"


def _named(losses: tuple[str, ...]) -> str:
    return " or ".join(f"config.distil.{name}" for name in losses)
