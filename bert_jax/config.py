"""Configuration: the frozen dataclasses that hold every default, and the one way into them.

    experiments/x.py: get_config() -> locked ConfigDict     (sets only what differs from base())
    --config.group.field=value                              (overrides, parsed by the field's type)
    resolve()                                               -> Config, or ConfigError with every fault

After `resolve` nobody holds a ConfigDict, so no `.get(key, default)` can hide a typo.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bert_jax.errors import ConfigError, UsageError
from bert_jax.models.presets import PRESETS, ModelConfig, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the text comes from and how rows are cut from it."""

    source: Literal["installed_docs", "files", "tfds"] = option(
        "installed_docs", "documentation of the installed Python packages, text files, or a TFDS dataset"
    )
    path: str = option(
        "", "files: files, folders or globs (.txt, .jsonl, also .gz), comma-separated; tfds: name[/config]"
    )
    split: str = option("train", "tfds: the split to read")
    tfds_dir: str = option("", "tfds: the data_dir; empty is TFDS's own default")
    text_field: str = option("text", "tfds, .jsonl: the field that holds the text")
    sentences: Literal["rule", "line"] = option(
        "rule", "rule: split each line into sentences; line: each line already is one"
    )
    directory: str = option("", "root of the prepared corpora; empty: $BERT_JAX_DATA, else ~/.cache/bert_jax")
    eval_fraction: float = option(0.02, "share of the documents held out (at least one; 0: none)")
    sequence_length: int = option(128, "L, tokens a row, special tokens included")
    sentence_objective: Literal["none", "nsp", "sop"] = option(
        "nsp", "none: one segment; nsp: next sentence (BERT); sop: sentence order (ALBERT)"
    )
    short_sequence_probability: float = option(
        0.1, "share of the rows cut to a random shorter length, as in BERT"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """The vocabulary: trained on the corpus, or loaded."""

    kind: Literal["wordpiece"] = option("wordpiece", "the subword model")
    vocab_size: int = option(30522, "entries, special tokens included; also the model's V")
    path: str = option("", "load this vocab.txt or tokenizer.json instead of training one")
    lowercase: bool = option(True, "lower-case and strip accents (uncased)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """Masked language modelling (Devlin et al. 2019, section 3.1, task 1)."""

    rate: float = option(0.15, "share of a row's tokens that are predicted")
    mask: float = option(0.8, "share of the predicted tokens shown as [MASK]")
    random: float = option(0.1, "share shown as a random vocabulary entry")
    keep: float = option(0.1, "share shown as themselves")
    max_predictions: int = option(0, "M, prediction slots a row; 0: ceil(rate * sequence_length)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The update rule and its learning-rate schedule."""

    name: Literal["adamw", "bert_adam"] = option(
        "adamw", "adamw: with bias correction; bert_adam: Google's AdamWeightDecay, without"
    )
    learning_rate: float = option(1e-4, "peak learning rate")
    schedule: Literal["linear", "bert_linear", "cosine", "constant"] = option(
        "linear",
        "after warmup: to zero linearly, along a cosine, or not; bert_linear: Google's code,"
        " whose decay counts from step 0, so the rate steps down as warmup ends",
    )
    warmup_steps: int = option(10_000, "updates of linear warmup")
    weight_decay: float = option(0.01, "decoupled decay; never on biases or LayerNorm")
    clip_norm: float = option(1.0, "global gradient norm is cut to this; 0: never")
    b1: float = option(0.9, "decay of the first moment")
    b2: float = option(0.999, "decay of the second moment")
    eps: float = option(1e-6, "added to the root of the second moment")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelConfig:
    """How a step is spread over devices."""

    mode: Literal["jit", "pmap"] = option("jit", "jit over a device mesh, or pmap (data parallelism only)")
    data: int = option(-1, "mesh axis over which rows are split; -1: the devices that are left")
    fsdp: int = option(1, "mesh axis over which rows, parameters and optimizer state are split")
    tensor: int = option(1, "mesh axis over which heads and MLP columns are split")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length of the run and its rhythm, all in optimizer updates ("steps")."""

    steps: int = option(1_000_000, "updates in all")
    batch_size: int = option(256, "B, rows of one update over all devices and hosts")
    accumulate: int = option(1, "micro-batches whose gradients make one update")
    log_every: int = option(100, "steps between two train lines in metrics.jsonl")
    eval_every: int = option(5_000, "steps between two evaluations on held-out documents")
    eval_batches: int = option(50, "batches of one evaluation at most; 0: the whole held-out set")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Orbax checkpoints; the one with the lowest held-out loss is kept besides."""

    every: int = option(5_000, "steps between two checkpoints")
    keep: int = option(3, "latest checkpoints that stay")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """One experiment, resolved: complete, typed, immutable."""

    seed: int = option(0, "seed of initialisation, order, masks and dropout")
    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    masking: MaskingConfig = MaskingConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    parallel: ParallelConfig = ParallelConfig()
    train: TrainConfig = TrainConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()


def base():
    """The complete default configuration as a locked ConfigDict, for experiments to change.

    Model fields are None, which means "what `model.preset` says".
    """
    from ml_collections import ConfigDict

    defaults = dataclasses.asdict(Config())
    defaults["model"] = {name: None for name in defaults["model"]} | {"preset": ModelConfig().preset}
    return ConfigDict(defaults).lock()


# ---------------------------------------------------------------------------------------------
# Reading: file and overrides -> nested dictionary
# ---------------------------------------------------------------------------------------------


def load(path: str, overrides: Sequence[str] = ()) -> Config:
    """Resolves the experiment file `path`, changed by `overrides` such as "optim.learning_rate=2e-4".

    `path.py:argument` calls the file's `get_config(argument)`.

    Raises:
      UsageError: no such file, or no `get_config` in it.
      ConfigError: every broken rule, unknown key and unreadable override at once.
    """
    raw = _as_dict(_run_experiment(path))
    faults: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            faults.append(f"--config.{key} needs a value: --config.{key}=VALUE")
        else:
            _override(raw, key.strip(), value.strip(), faults)
    return _resolve(raw, faults)


def resolve(raw) -> Config:
    """A Config from a ConfigDict or nested mapping; missing keys take their defaults.

    Raises:
      ConfigError: every fault at once, each with the rule, both values and the place.
    """
    return _resolve(_as_dict(raw), [])


def _run_experiment(path: str):
    file, _, argument = path.partition(":")
    if not Path(file).is_file():
        raise UsageError(f"--config={path}: no such file: {file}")
    import runpy

    try:
        namespace = runpy.run_path(file)
    except SyntaxError as error:
        raise UsageError(f"--config={path}: {error}") from error
    if "get_config" not in namespace:
        raise UsageError(f"--config={path}: the file must define get_config() and does not")
    try:
        raw = namespace["get_config"](argument) if argument else namespace["get_config"]()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # ml_collections answers a misspelt field with a whole page; its first line names the key.
        reason = str(error).strip("\"'").replace("\\n", "\n").partition("\n")[0] or type(error).__name__
        raise ConfigError([f"{file}: get_config() failed: {reason}"]) from error
    if not (isinstance(raw, Mapping) or hasattr(raw, "to_dict")):
        raise ConfigError([f"{file}: get_config() must return a configuration, returned {raw!r}"])
    return raw


def _as_dict(raw) -> dict[str, Any]:
    if hasattr(raw, "to_dict"):
        raw = raw.to_dict()
    return {k: _as_dict(v) if isinstance(v, Mapping) or hasattr(v, "to_dict") else v for k, v in raw.items()}


def _override(raw: dict[str, Any], key: str, text: str, faults: list[str]) -> None:
    *group, name = key.split(".")
    schema: Any = Config
    for part in group:
        schema = _field_types(schema).get(part)
        if not dataclasses.is_dataclass(schema):
            faults.append(_unknown(key))
            return
    kind = _field_types(schema).get(name)
    if kind is None or dataclasses.is_dataclass(kind):
        faults.append(_unknown(key))
        return
    target = raw
    for part in group:
        target = target.setdefault(part, {})
    target[name] = _parse(text, kind)


def _parse(text: str, kind) -> Any:
    """Text by the field's type; what does not parse stays text, for `_typed` to report."""
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
        with contextlib.suppress(ValueError):
            number = float(text)  # a whole number may be written 2e4
            return int(number) if number.is_integer() else number
    return text


def known_keys() -> list[str]:
    """Every `group.field` that a configuration has."""
    return [name for name, _ in _walk(Config())]


def _unknown(key: str) -> str:
    keys = known_keys()
    group, _, name = key.rpartition(".")
    groups = {k.partition(".")[0] for k in keys}
    siblings = [k for k in keys if group and k.startswith(group + ".")] or sorted(groups)
    close = difflib.get_close_matches(key, [*keys, *groups], n=1, cutoff=0.75)
    close = close or [k for k in keys if k.rpartition(".")[2] == name]
    hint = f"did you mean config.{close[0]}? " if close else ""
    return f"config.{key} is unknown: {hint}known here: {', '.join(siblings)}"


def _field_types(schema) -> dict[str, Any]:
    return typing.get_type_hints(schema)


# ---------------------------------------------------------------------------------------------
# Resolving: nested dictionary -> dataclasses
# ---------------------------------------------------------------------------------------------


def _resolve(raw: dict[str, Any], faults: list[str]) -> Config:
    raw = {k: dict(v) if isinstance(v, dict) else v for k, v in raw.items()}
    model, tokenizer = raw.get("model", {}), raw.get("tokenizer", {})
    if isinstance(model, dict) and isinstance(tokenizer, dict):
        raw["model"] = _fill_preset(model, tokenizer, faults)
    config = _build(Config, raw, "", faults)
    slots = config.masking.max_predictions
    if slots == 0 and isinstance(config.masking.rate, float):
        slots = math.ceil(round(config.masking.rate * config.data.sequence_length, 6))
        config = dataclasses.replace(
            config, masking=dataclasses.replace(config.masking, max_predictions=slots)
        )
    if not faults:  # rules over values of the wrong type would only echo the first fault
        faults = validate(config)
    if faults:
        raise ConfigError(faults)
    return config


def _fill_preset(model: dict[str, Any], tokenizer: dict[str, Any], faults: list[str]) -> dict[str, Any]:
    """Preset values under the fields that are set; V comes from the tokenizer."""
    name = model.get("preset") or ModelConfig().preset
    if name not in PRESETS:
        faults.append(f"config.model.preset={name!r} must be one of: {', '.join(PRESETS)}")
        name = ModelConfig().preset
    filled = dataclasses.asdict(PRESETS[name])
    filled["vocab_size"] = tokenizer.get("vocab_size", TokenizerConfig().vocab_size)
    return filled | {key: value for key, value in model.items() if value is not None}


def _build(schema, raw: dict[str, Any], prefix: str, faults: list[str]):
    types = _field_types(schema)
    for key in sorted(raw.keys() - types.keys()):
        faults.append(_unknown(prefix + key))
    values = {}
    for name in (name for name in types if name in raw):
        kind, value, place = types[name], raw[name], prefix + name
        if dataclasses.is_dataclass(kind):
            if isinstance(value, dict):
                values[name] = _build(kind, value, place + ".", faults)
            else:
                faults.append(f"config.{place}={value!r} must be a group of fields")
        else:
            fault = _type_fault(value, kind)
            if fault:
                faults.append(f"config.{place}={value!r} must be {fault}")
            else:
                values[name] = float(value) if kind is float else value
    return schema(**values)


def _type_fault(value: Any, kind) -> str:
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        return "" if value in choices else f"one of: {', '.join(choices)}"
    if kind is bool:
        return "" if isinstance(value, bool) else "true or false"
    if kind is int:
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    if kind is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return "" if is_number and math.isfinite(value) else "a finite number"
    return "" if isinstance(value, str) else "text"


# ---------------------------------------------------------------------------------------------
# Rules
# ---------------------------------------------------------------------------------------------


def validate(config: Config) -> list[str]:
    """Every broken rule, as `config.a=1 must be < config.b=0`. Needs no device and no data."""
    return [*_range_faults(config), *_rule_faults(config)]


# Half-open or closed intervals that single fields must lie in.
_POSITIVE = (
    "data.sequence_length", "tokenizer.vocab_size", "masking.max_predictions", "model.hidden_size",
    "model.num_layers", "model.num_heads", "model.mlp_size", "model.max_positions",
    "model.type_vocab_size", "model.layer_norm_eps", "model.initializer_range", "optim.learning_rate",
    "optim.eps", "parallel.fsdp", "parallel.tensor", "train.steps", "train.batch_size",
    "train.accumulate", "train.log_every", "train.eval_every", "checkpoint.every", "checkpoint.keep",
)  # fmt: skip
_NOT_NEGATIVE = ("seed", "optim.warmup_steps", "optim.weight_decay", "optim.clip_norm", "train.eval_batches")
_SHARES = ("data.short_sequence_probability", "masking.mask", "masking.random", "masking.keep")
_BELOW_ONE = (
    "data.eval_fraction", "model.dropout_rate", "model.attention_dropout_rate", "optim.b1", "optim.b2",
)  # fmt: skip


def _range_faults(config: Config) -> Iterator[str]:
    values = dict(_walk(config))
    for keys, holds, rule in (
        (_POSITIVE, lambda v: v > 0, "> 0"),
        (_NOT_NEGATIVE, lambda v: v >= 0, ">= 0"),
        (_SHARES, lambda v: 0 <= v <= 1, "in [0, 1]"),
        (_BELOW_ONE, lambda v: 0 <= v < 1, "in [0, 1)"),
    ):
        for key in keys:
            if not holds(values[key]):
                yield f"config.{key}={values[key]} must be {rule}"


def _rule_faults(config: Config) -> Iterator[str]:
    data, masking, model = config.data, config.masking, config.model
    train, parallel = config.train, config.parallel
    if config.seed >= 2**31:
        yield f"config.seed={config.seed} must be < 2147483648 = 2**31"
    if not 0 < masking.rate < 1:
        yield f"config.masking.rate={masking.rate} must be in (0, 1)"
    total = masking.mask + masking.random + masking.keep
    if abs(total - 1) > 1e-6:
        yield (
            f"config.masking.mask={masking.mask} + random={masking.random} + keep={masking.keep}"
            f" = {total:.6g} must be 1"
        )
    if data.sequence_length < 8:
        yield f"config.data.sequence_length={data.sequence_length} must be >= 8"
    if masking.max_predictions > data.sequence_length:
        yield (
            f"config.masking.max_predictions={masking.max_predictions} must be <="
            f" config.data.sequence_length={data.sequence_length}"
        )
    if data.sequence_length > model.max_positions:
        yield (
            f"config.data.sequence_length={data.sequence_length} must be <="
            f" config.model.max_positions={model.max_positions}"
        )
    if data.source in ("files", "tfds") and not data.path:
        yield f"config.data.path='' must be set for config.data.source={data.source!r}"
    if data.sentence_objective != "none" and model.type_vocab_size < 2:
        yield (
            f"config.model.type_vocab_size={model.type_vocab_size} must be >= 2 for"
            f" config.data.sentence_objective={data.sentence_objective!r}"
        )
    if model.vocab_size != config.tokenizer.vocab_size:
        yield (
            f"config.model.vocab_size={model.vocab_size} must equal"
            f" config.tokenizer.vocab_size={config.tokenizer.vocab_size}"
        )
    if model.num_heads > 0 and model.hidden_size % model.num_heads:
        yield (
            f"config.model.hidden_size={model.hidden_size} must be a multiple of"
            f" config.model.num_heads={model.num_heads}"
        )
    if model.attention_backend == "cudnn" and (model.dtype, model.attention_dropout_rate) != ("bfloat16", 0):
        yield (
            "config.model.attention_backend='cudnn' must have config.model.dtype='bfloat16' (is"
            f" {model.dtype!r}) and config.model.attention_dropout_rate=0 (is {model.attention_dropout_rate})"
        )
    if config.optim.schedule != "constant" and config.optim.warmup_steps >= train.steps:
        yield (
            f"config.optim.warmup_steps={config.optim.warmup_steps} must be <"
            f" config.train.steps={train.steps}"
        )
    if train.accumulate > 0 and train.batch_size % train.accumulate:
        yield (
            f"config.train.batch_size={train.batch_size} must be a multiple of"
            f" config.train.accumulate={train.accumulate}"
        )
    if parallel.data < 1 and parallel.data != -1:
        yield f"config.parallel.data={parallel.data} must be > 0, or -1 for the devices that are left"
    if parallel.mode == "pmap" and (parallel.fsdp, parallel.tensor) != (1, 1):
        yield (
            "config.parallel.mode='pmap' must have config.parallel.fsdp=1 and config.parallel.tensor=1"
            f" (are {parallel.fsdp} and {parallel.tensor}): pmap is data parallelism only"
        )
    for axis, size, field, width in (
        ("fsdp", parallel.fsdp, "hidden_size", model.hidden_size),
        ("tensor", parallel.tensor, "num_heads", model.num_heads),
        ("tensor", parallel.tensor, "mlp_size", model.mlp_size),
    ):
        if size > 0 and width % size:
            yield f"config.model.{field}={width} must be a multiple of config.parallel.{axis}={size}"


# ---------------------------------------------------------------------------------------------
# Writing and comparing
# ---------------------------------------------------------------------------------------------


def to_dict(config) -> dict[str, Any]:
    """Plain nested dictionaries, ready for JSON; `resolve` takes them back."""
    return dataclasses.asdict(config)


def _walk(config, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _walk(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def differences(ours: Config, theirs: Config, *, ignore: Sequence[str] = ()) -> list[str]:
    """`config.a: 1 now, 2 there` for every field that differs; `ignore` holds key prefixes."""
    pairs = zip(_walk(ours), _walk(theirs), strict=True)
    return [
        f"config.{key}: {a!r} now, {b!r} there"
        for (key, a), (_, b) in pairs
        if a != b and not key.startswith(tuple(ignore))
    ]


def describe(config: Config) -> Iterator[tuple[str, Any, str]]:
    """(key, value, one-line meaning) of every field, in order."""
    for key, value in _walk(config):
        schema: Any = Config
        *groups, name = key.split(".")
        for group in groups:
            schema = _field_types(schema)[group]
        doc = next(f.metadata["doc"] for f in dataclasses.fields(schema) if f.name == name)
        yield key, value, doc
