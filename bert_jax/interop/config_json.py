"""config.json, both ways: what it says of a model, and what it must say of ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bert_jax.config.head import HeadConfig
from bert_jax.config.model import EXECUTION, ModelConfig
from bert_jax.config.options import replaced, value_at, walk
from bert_jax.config.presets import PRESETS
from bert_jax.errors import UserError
from bert_jax.interop.config_fields import MOST_LAYERS, Reader, reaches
from bert_jax.interop.families import FAMILIES, Family
from bert_jax.interop.task_classes import class_of, normal, read_head, write_head

_SIZES = ("vocab_size", "hidden_size", "num_layers", "num_heads", "mlp_size", "max_positions")
_RATES = ("dropout_rate", "attention_dropout_rate")

# What a checkpoint's files say, or may lack, whatever config.json says.
_OF_THE_FILES = ("pooler", "relative.mask_decoder")


def family_of(raw: Mapping[str, Any], *, place: str) -> Family:
    """The family that a config.json names: by `model_type` or, in old checkpoints without it, by `architectures`.

    Raises:
      UserError: it is of none of the families, or none is named.
    """
    by_type = {family.model_type: family for family in FAMILIES.values()}
    known = ", ".join(by_type)
    if "model_type" not in raw:
        classes = raw.get("architectures")
        found = [_family_of_class(name) for name in classes] if isinstance(classes, list) else []
        if found and found[0] is not None and found.count(found[0]) == len(found):
            return found[0]
        raise UserError(
            f"{place}: has no model_type, and architectures={classes!r} does not tell it: add the key with what the"
            f' model is of {known}, such as "model_type": "bert"'
        )
    model_type = raw["model_type"]
    if not isinstance(model_type, str) or model_type not in by_type:
        raise UserError(
            f"{place}: model_type={model_type!r} must be one of {known}: other architectures are not computed here,"
            " choose a model of one of these"
        )
    return by_type[model_type]


def _family_of_class(name: Any) -> Family | None:
    """The family of a class such as BertForSequenceClassification; None: it is of another."""
    for family in FAMILIES.values():
        stem = family.architectures[0][0].partition("For")[0]
        if isinstance(name, str) and (name == f"{stem}Model" or name.startswith(f"{stem}For")):
            return family
    return None


def config_to_hf(
    config: ModelConfig, *, pad_token_id: int, architecture: str | None = None
) -> dict[str, Any]:
    """config.json of a model of the config's family; `architecture` is its class, which a task head decides (None:
    the one with all the heads of pretraining).

    Raises:
      UserError: the config computes what the family's models cannot.
    """
    family = FAMILIES[config.family]
    values = {theirs: value_at(config, ours) for ours, theirs in family.keys.items()}
    if "activation" in family.keys:
        values[family.keys["activation"]] = next(
            (name for name, ours in family.activations.items() if ours == config.activation),
            config.activation,
        )
    for special in family.specials:
        values |= special.write(config, pad_token_id)
    task = family.task(config.head)
    if task:
        values |= write_head(config.head, task, shared=frozenset(family.keys.values()))
        architecture = task.name
    raw = {
        "architectures": [architecture or family.architectures[0][0]],
        "model_type": family.model_type,
        **values,
        "pad_token_id": pad_token_id,
        "tie_word_embeddings": config.mlm_head.tied,
    }
    _check_expressed(config, raw)
    return raw


def _check_expressed(config: ModelConfig, raw: Mapping[str, Any]) -> None:
    """What config.json says, read again, must be the config: all that is computed has a place in it."""
    hint = "train with that, or choose another model.family"
    found = _read(raw, Reader(raw, f"an export as {config.family!r}", hint, hint))
    for (key, ours, field), (_, theirs, _) in zip(walk(config), walk(found), strict=True):
        if key in ("preset", *EXECUTION, *_OF_THE_FILES) or ours == theirs:
            continue
        if (key == "sharing" and config.family == "albert") or key == "groups":
            continue  # written unshared, a layer each: the same function
        if key == "pattern" and reaches(config) == reaches(found):
            continue
        if not _is_read(config, field.metadata["needs"]):
            continue
        raise UserError(
            f"model.{key}={ours!r} must be {theirs!r} to be exported as {config.family!r}, whose models"
            f" have nothing else: {hint}"
        )
    head, read = normal(config.head), normal(found.head)
    for name in ("kind", "labels", "hidden", "pooling") if FAMILIES[config.family].task(head) else ():
        ours, theirs = getattr(head, name), getattr(read, name)
        if ours != theirs:
            raise UserError(
                f"model.head.{name}={ours!r} must be {theirs!r} to be exported as {raw['architectures'][0]},"
                " which has nothing else: export with --format safetensors, or fine-tune with that"
            )


def config_from_hf(raw: Mapping[str, Any], *, place: str) -> ModelConfig:
    """The model a config.json describes; `place` is the file's name for messages.

    Its class says whether there is a task head. Whether there are a pooler and an enhanced mask decoder the
    weights alone say: here there is the family's pooler and no decoder. Sizes of a published model give its
    preset's name; execution settings (dtype, layers, remat, attention_backend) are ours alone and keep their
    defaults.

    Raises:
      UserError: not an encoder as this package computes it, or a value of the wrong type or size.
    """
    foreign = "this encoder computes nothing else, so the checkpoint cannot be used here"
    return named(_read(raw, Reader(raw, place, "mend config.json", foreign)))


def named(config: ModelConfig) -> ModelConfig:
    """The config with the name of the published model whose function it is, if there is one: of two the one
    that it also has the vocabulary and dropout of."""
    free = {"preset", "vocab_size", *EXECUTION, *_OF_THE_FILES}

    def differences(preset: ModelConfig) -> set[str]:
        pairs = zip(walk(preset), walk(config), strict=True)
        return {key for (key, ours, _), (_, theirs, _) in pairs if ours != theirs}

    alike = [preset for preset in PRESETS.values() if differences(preset) <= free]
    nearest = min(alike, key=lambda preset: len(differences(preset) - {"preset"}), default=config)
    return dataclasses.replace(config, preset=nearest.preset)


def _read(raw: Mapping[str, Any], reader: Reader) -> ModelConfig:
    family = family_of(raw, place=reader.place)
    defaults = {theirs: value_at(ModelConfig(), ours) for ours, theirs in family.keys.items()}
    filled = {**defaults, "pad_token_id": 0, **family.required, **family.defaults, **raw}
    reader = dataclasses.replace(reader, raw=filled, given=frozenset(raw))
    for key, value in family.required.items():
        reader.choice(key, (value,))
    values: dict[str, Any] = dict(family.fixed)
    for ours, key in family.keys.items():
        values[ours] = _field(reader, ours, key, family)
    heads = values["num_heads"]
    if values["hidden_size"] % heads:
        reader.fail(family.keys["hidden_size"], f"a multiple of {family.keys['num_heads']}={heads}")
    if values.get("positions") == "rotary" and values["hidden_size"] // heads % 2:
        reader.fail(family.keys["hidden_size"], f"an even multiple of {family.keys['num_heads']}={heads}")
    for special in family.specials:
        values |= special.read(reader)
    architecture = class_of(reader)
    task = next((task for task in family.tasks if task.name == architecture), None)
    values["head"] = read_head(reader, task) if task else HeadConfig()
    name = next(name for name, member in FAMILIES.items() if member is family)
    return replaced(ModelConfig(family=name), values)  # type: ignore[arg-type]


def _is_read(config: ModelConfig, needs: str) -> bool:
    """Whether a model's option with the condition `needs` does anything."""
    key, _, needed = needs.removeprefix("model.").partition("=")
    if not needs:
        return True
    value = value_at(config, key)
    return needed in value if isinstance(value, tuple) else value == needed


def _field(reader: Reader, ours: str, key: str, family: Family) -> Any:
    if ours == "activation":
        return family.activations[reader.choice(key, tuple(family.activations))]
    if ours in _SIZES:
        return reader.size(key, most=MOST_LAYERS) if ours == "num_layers" else reader.size(key)
    if ours == "type_vocab_size":
        return reader.size(key, least=min(1, family.defaults.get(key, 1)))
    return reader.rate(key) if ours in _RATES else reader.number(key)
