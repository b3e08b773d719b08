"""The one way into a configuration: experiment file and overrides in, frozen dataclasses out.

    experiments/x.py: get_config() -> locked ConfigDict     (sets only what differs from base())
    --config.group.field=value                              (overrides, parsed by the field's type)
    resolve()                                               -> a RunConfig, or ConfigError with every fault

The options and their defaults are in `schema`, `finetune` and `distil`, the rules in `pretrain_rules`, `finetune_rules` and
`distil_rules`; `values` parses and checks a single value.

After `resolve` nobody holds a ConfigDict, so no `.get(key, default)` can hide a typo.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from bert_jax.config import distil_rules, experiment, finetune_rules, pretrain_rules
from bert_jax.config.distil import DistilFinetuneConfig, DistilPretrainConfig, DistilRun
from bert_jax.config.finetune import FinetuneConfig
from bert_jax.config.model import ModelConfig
from bert_jax.config.older import MOVED
from bert_jax.config.options import walk
from bert_jax.config.phases import prediction_slots
from bert_jax.config.presets import PRESETS
from bert_jax.config.pretrain import PretrainConfig, TokenizerConfig
from bert_jax.config.run import PhaseConfig, RunConfig
from bert_jax.config.values import canonical, field_types, parse, type_fault
from bert_jax.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

RENAMED = {
    "data.first_length": "config.phases, as in share=0.9,sequence_length=FIRST_LENGTH;share=0.1",
    "data.first_share": "config.phases, as in share=FIRST_SHARE,sequence_length=128;share=REST",
}
"""Keys of older configurations -> what says the same now."""
RENAMED |= {f"model.{old}": f"config.model.{new}" for old, new in MOVED.items()}


COMMANDS: dict[type[RunConfig], str] = {
    PretrainConfig: "pretrain",
    FinetuneConfig: "finetune",
    DistilPretrainConfig: "distill",
    DistilFinetuneConfig: "distill",
    DistilRun: "distill",
}
"""The kinds of run, each with the command that takes its experiments."""


def _kind(raw: Mapping[str, Any]) -> type[RunConfig]:
    """Which kind of run a nested configuration is of: fine-tuning has a task, distillation a group of its own."""
    if "distil" in raw:
        return DistilFinetuneConfig if "task" in raw else DistilPretrainConfig
    return FinetuneConfig if "task" in raw else PretrainConfig


def base(kind: type[RunConfig] = PretrainConfig) -> ConfigDict:
    """The complete default configuration as a locked ConfigDict, for experiments to change.

    Model fields of pretraining are None, which means "what `model.preset` says".
    """
    from ml_collections import ConfigDict

    defaults = dataclasses.asdict(kind())
    if issubclass(kind, PretrainConfig):
        del defaults["model"]["head"]
        defaults["model"] = _unset(defaults["model"]) | {"preset": ModelConfig().preset}
    return ConfigDict(defaults).lock()


def _unset(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _unset(value) if isinstance(value, Mapping) else None for name, value in group.items()}


# ---------------------------------------------------------------------------------------------
# Reading: file and overrides -> nested dictionary
# ---------------------------------------------------------------------------------------------


Run = TypeVar("Run", bound=RunConfig)


def load(
    path: str,
    overrides: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
    kind: type[Run] = PretrainConfig,  # type: ignore[assignment]
) -> Run:
    """Resolves the experiment file `path`, changed by `values`, then by `overrides`.

    `path.py:argument` calls the file's `get_config(argument)`.

    Args:
      overrides: text as on the command line: "optim.learning_rate=2e-4".
      values: the same with Python's types: {"optim.learning_rate": 2e-4}. A value of the group "distil" makes an
        experiment without that group one of distillation.
      kind: the kind of run that the file must describe; `RunConfig`: any.

    Raises:
      UsageError: no such file, no `get_config` in it, or the configuration of another kind of run.
      ConfigError: every broken rule, unknown key and unreadable override at once.
    """
    raw = _as_dict(_run_experiment(path))
    if any(key.startswith("distil.") for key in values or ()):
        raw.setdefault("distil", {})  # before any value is read: the kind of run decides which keys there are
    found = _kind(raw)
    if not issubclass(found, kind):
        raise UsageError(
            f"--config={path} is an experiment for `bert-jax {COMMANDS[found]}`: give it to that command"
        )
    faults: list[str] = []
    for key, given in (values or {}).items():
        _set(raw, key, functools.partial(_as_given, given), faults)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            faults.append(f"--config.{key} needs a value: --config.{key}=VALUE")
        else:
            _set(raw, key.strip(), functools.partial(parse, value.strip()), faults)
    return _resolve(raw, faults)  # type: ignore[return-value]


def with_values(raw: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A nested configuration with `values` by their dotted keys: {"optim.learning_rate": 2e-4}.

    Raises:
      ConfigError: an unknown key.
    """
    changed, faults = _as_dict(raw), list[str]()
    for key, given in values.items():
        _set(changed, key, functools.partial(_as_given, given), faults)
    if faults:
        raise ConfigError(faults)
    return changed


def resolve(raw: Any, kind: type[Run] = PretrainConfig) -> Run:  # type: ignore[assignment]
    """A configuration from a ConfigDict or nested mapping; missing keys take their defaults.

    With a group "task" it is a `FinetuneConfig`, else a `PretrainConfig`, with a group "distil" one of distillation,
    which is a subclass; `kind` is what it must be, and `RunConfig` takes all.

    Raises:
      ConfigError: every fault at once, each with the rule, both values and the place.
    """
    raw = _as_dict(raw)
    found = _kind(raw)
    if not issubclass(found, kind):
        raise ConfigError([f"the configuration is one of `bert-jax {COMMANDS[found]}`, not {COMMANDS[kind]}"])
    return _resolve(raw, [])  # type: ignore[return-value]


def check_command(config: RunConfig, command: str, path: str) -> None:
    """Raises `UsageError` where another command trains what the experiment `path` describes."""
    if COMMANDS[type(config)] != command:
        raise UsageError(
            f"--config={path} is an experiment for `bert-jax {COMMANDS[type(config)]}`: give it to that command"
        )


def _run_experiment(path: str) -> Any:
    raw = experiment.call(path, "get_config", flag="--config=")
    if not (isinstance(raw, Mapping) or hasattr(raw, "to_dict")):
        file = path.partition(":")[0]
        raise ConfigError([f"{file}: get_config() must return a configuration, returned {raw!r}"])
    return raw


def _as_dict(raw: Any) -> dict[str, Any]:
    if hasattr(raw, "to_dict"):
        raw = raw.to_dict()

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping) or hasattr(value, "to_dict"):
            return _as_dict(value)
        return tuple(map(plain, value)) if isinstance(value, list | tuple) else value

    return {name: plain(value) for name, value in raw.items()}


def _set(raw: dict[str, Any], key: str, value_of: Callable[[Any], Any], faults: list[str]) -> None:
    """Puts `value_of(the field's type)` at `key`."""
    *group, name = key.split(".")
    root = _kind(raw)
    schema: Any = root
    for part in group:
        schema = field_types(schema).get(part)
        if not dataclasses.is_dataclass(schema):
            faults.append(_unknown(key, root))
            return
    kind = field_types(schema).get(name)
    if kind is None or dataclasses.is_dataclass(kind):
        faults.append(_unknown(key, root))
        return
    target = raw
    for part in group:
        target = target.setdefault(part, {})
    target[name] = value_of(kind)


def _as_given(value: Any, kind: Any) -> Any:
    return value


def known_keys(kind: type[RunConfig] = PretrainConfig) -> list[str]:
    """Every `group.field` that a configuration of a kind of run has."""
    return [name for name, _, _ in walk(kind())]


def _unknown(key: str, kind: type[RunConfig]) -> str:
    if key in RENAMED:
        return f"config.{key} is no longer an option: it is {RENAMED[key]} now"
    group, _, name = key.rpartition(".")
    if group == "distil" and not issubclass(kind, DistilRun):
        return (
            f"config.{key} must go with an experiment of `bert-jax distill`: this one learns from no teacher"
        )
    if group.startswith("phases["):
        return f"config.{key} is unknown: known here: {', '.join(field_types(PhaseConfig))}"
    keys = known_keys(kind)
    groups = {k.partition(".")[0] for k in keys}
    siblings = [k for k in keys if group and k.startswith(group + ".")] or sorted(groups)
    close = difflib.get_close_matches(key, [*keys, *groups], n=1, cutoff=0.75)
    close = close or [k for k in keys if k.rpartition(".")[2] == name]
    hint = f"did you mean config.{close[0]}? " if close else ""
    return f"config.{key} is unknown: {hint}known here: {', '.join(siblings)}"


# ---------------------------------------------------------------------------------------------
# Resolving: nested dictionary -> dataclasses
# ---------------------------------------------------------------------------------------------


def _resolve(raw: dict[str, Any], faults: list[str]) -> RunConfig:
    raw = {k: dict(v) if isinstance(v, dict) else v for k, v in raw.items()}
    kind = _kind(raw)
    if issubclass(kind, PretrainConfig):
        config: RunConfig = _pretraining(raw, faults, kind)
    else:
        config = _build(kind(), raw, "", faults, kind)
    if not faults:  # rules over values of the wrong type would only echo the first fault
        faults = validate(config)
    if faults:
        raise ConfigError(faults)
    return config


def validate(config: RunConfig) -> list[str]:
    """Every broken rule of a configuration, as `config.a=1 must be < config.b=0`."""
    of_distillation = list(distil_rules.validate(config)) if isinstance(config, DistilRun) else []
    if isinstance(config, FinetuneConfig):
        return finetune_rules.validate(config) + of_distillation
    assert isinstance(config, PretrainConfig)
    return pretrain_rules.validate(config) + of_distillation


def _pretraining(raw: dict[str, Any], faults: list[str], kind: type[PretrainConfig]) -> PretrainConfig:
    model, tokenizer = raw.get("model", {}), raw.get("tokenizer", {})
    if isinstance(model, dict) and isinstance(tokenizer, dict):
        raw["model"] = _fill_preset(model, tokenizer, faults)
    config: PretrainConfig = _build(kind(), raw, "", faults, kind)
    slots = config.masking.max_predictions
    if slots == 0 and isinstance(config.masking.rate, float):
        slots = prediction_slots(config.masking.rate, config.data.sequence_length)
        config = dataclasses.replace(
            config, masking=dataclasses.replace(config.masking, max_predictions=slots)
        )
    return config


def _fill_preset(model: dict[str, Any], tokenizer: dict[str, Any], faults: list[str]) -> dict[str, Any]:
    """Preset values under the fields that are set; V comes from the tokenizer."""
    name = model.get("preset") or ModelConfig().preset
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        faults.append(f"config.model.preset={name!r} must be one of: {', '.join(PRESETS)}{hint}")
        name = ModelConfig().preset
    filled = dataclasses.asdict(PRESETS[name])
    filled["vocab_size"] = tokenizer.get("vocab_size", TokenizerConfig().vocab_size)
    return _over(filled, model)


def _over(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Nested `values` under those that are `given` and not None."""
    merged = dict(values)
    for name, value in given.items():
        below = values.get(name)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[name] = _over(below, value)
        elif value is not None:
            merged[name] = value
    return merged


def _build(defaults: Any, raw: dict[str, Any], prefix: str, faults: list[str], root: type[RunConfig]) -> Any:
    """`defaults`, a group of options, with the values of `raw`."""
    types = field_types(type(defaults))
    for key in sorted(raw.keys() - types.keys()):
        faults.append(_unknown(prefix + key, root))
    values = {}
    for name in (name for name in types if name in raw):
        kind, value, place = types[name], raw[name], prefix + name
        if dataclasses.is_dataclass(kind):
            if isinstance(value, dict):
                values[name] = _build(getattr(defaults, name), value, place + ".", faults, root)
            else:
                faults.append(f"config.{place}={value!r} must be a group of fields")
        else:
            fault, value = _leaf(value, kind, place, faults, root)
            if fault:
                faults.append(f"config.{place}={value!r} must be {fault}")
            else:
                values[name] = value
    return dataclasses.replace(defaults, **values)


def _leaf(value: Any, kind: Any, place: str, faults: list[str], root: type[RunConfig]) -> tuple[str, Any]:
    """(what the value must be and is not, its one spelling); faults inside a group of a sequence go to `faults`."""
    item = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None
    if not dataclasses.is_dataclass(item) or not isinstance(value, list | tuple):
        value = canonical(value, kind)
        return type_fault(value, kind), value
    if any(not isinstance(part, Mapping) for part in value):
        return "a sequence of groups of fields", value
    make: Any = item
    parts = (
        _build(make(), dict(part), f"{place}[{number}].", faults, root) for number, part in enumerate(value)
    )
    return "", tuple(parts)


# ---------------------------------------------------------------------------------------------
# Writing and comparing
# ---------------------------------------------------------------------------------------------


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested dictionaries, ready for JSON; `resolve` takes them back."""
    return dataclasses.asdict(config)


def differences(ours: RunConfig, theirs: RunConfig, *, ignore: Sequence[str] = ()) -> list[str]:
    """`config.a: 1 now, 2 there` for every field that differs; `ignore` holds key prefixes."""
    if type(ours) is not type(theirs):
        return [f"the run is one of `bert-jax {COMMANDS[type(theirs)]}`, not {COMMANDS[type(ours)]}"]
    pairs = zip(walk(ours), walk(theirs), strict=True)
    return [
        f"config.{key}: {a!r} now, {b!r} there"
        for (key, a, _), (_, b, _) in pairs
        if a != b and not key.startswith(tuple(ignore))
    ]


def describe(config: Any) -> Iterator[tuple[str, Any, str]]:
    """(key, value, one-line meaning) of every field, in order."""
    for key, value, field in walk(config):
        needs = field.metadata["needs"]
        yield key, value, (f"[{needs}] " if needs else "") + field.metadata["doc"]
