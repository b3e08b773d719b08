"""The rules that a configuration keeps, over values and between groups. Needs no device and no data."""

from __future__ import annotations

from collections.abc import Iterator

from bert_jax.config.electra import generator_config
from bert_jax.config.model import ModelConfig
from bert_jax.config.options import walk
from bert_jax.config.phases import bad_pattern, borders, phases, schedule_pieces
from bert_jax.config.schema import (
    DataConfig,
    MaskingConfig,
    OptimConfig,
    ParallelConfig,
    PhaseConfig,
    PretrainConfig,
    TrainConfig,
)

PAIR_FORMATS = ("segment_pair", "sentence_pair")


def validate(config: PretrainConfig) -> list[str]:
    """Every broken rule, as `config.a=1 must be < config.b=0`."""
    faults = [*_range_faults(config), *_effect_faults(config), *_run_faults(config), *_row_faults(config)]
    return faults or [*_phases_faults(config)]


def _range_faults(config: object, prefix: str = "config.") -> Iterator[str]:
    """Values outside the bounds of their option."""
    for key, value, field in walk(config):
        bounds = field.metadata["bounds"]
        if isinstance(value, int | float) and not isinstance(value, bool) and value not in bounds:
            yield f"{prefix}{key}={value} must be {bounds}"


def _effect_faults(config: PretrainConfig) -> Iterator[str]:
    """Options that are set and do nothing, because another does not have the value they need."""
    values = {key: value for key, value, _ in walk(config)}
    for key, value, field in walk(config):
        other, _, needed = field.metadata["needs"].partition("=")
        if not needed or value == field.default:
            continue
        found = values[other]
        if needed != found and not (isinstance(found, tuple) and needed in found):
            yield f"config.{key}={value!r} must go with config.{other}={needed!r}, or it does nothing"


# ---------------------------------------------------------------------------------------------
# The run: schedule, phases, devices
# ---------------------------------------------------------------------------------------------


def _run_faults(config: PretrainConfig) -> Iterator[str]:
    yield from _piece_faults(config.optim, config.train.steps, "config.optim", "config.train.steps")
    yield from _parallel_faults(config.parallel, config.model)
    if config.model.vocab_size != config.tokenizer.vocab_size:
        yield (
            f"config.model.vocab_size={config.model.vocab_size} must equal"
            f" config.tokenizer.vocab_size={config.tokenizer.vocab_size}"
        )
    yield from _model_faults(config.model)
    yield from _objective_faults(config)


def _piece_faults(optim: OptimConfig, steps: int, place: str, of: str) -> Iterator[str]:
    if optim.schedule != "constant" and optim.warmup_steps >= steps:
        yield f"{place}.warmup_steps={optim.warmup_steps} must be < {of}={steps}"


def _parallel_faults(parallel: ParallelConfig, model: ModelConfig) -> Iterator[str]:
    if parallel.data < 1 and parallel.data != -1:
        yield f"config.parallel.data={parallel.data} must be > 0, or -1 for the devices that are left"
    if parallel.mode == "pmap" and (parallel.fsdp, parallel.tensor) != (1, 1):
        yield (
            "config.parallel.mode='pmap' must have config.parallel.fsdp=1 and config.parallel.tensor=1"
            f" (are {parallel.fsdp} and {parallel.tensor}): pmap is data parallelism only"
        )
    for axis, size, field, width in (
        ("fsdp", parallel.fsdp, "hidden_size", model.hidden_size),
        ("fsdp", parallel.fsdp, "embedding_size", model.embedding_size),
        ("tensor", parallel.tensor, "num_heads", model.num_heads),
        ("tensor", parallel.tensor, "mlp_size", model.mlp_size),
    ):
        if size > 0 and width % size:
            yield f"config.model.{field}={width} must be a multiple of config.parallel.{axis}={size}"


def _phases_faults(config: PretrainConfig) -> Iterator[str]:
    """Faults of phases; those of values that the run shares are the run's, and not repeated."""
    if not config.phases:
        return
    parts = [f"config.phases[{place}]" for place in range(len(config.phases))]
    own = [*_phase_value_faults(config.phases, parts)]
    total = sum(part.share for part in config.phases)
    if abs(total - 1) > 1e-6:
        shares = " + ".join(f"{part.share:g}" for part in config.phases)
        own.append(f"config.phases: the shares {shares} = {total:.6g} must be 1")
    else:
        for place, part, (start, stop) in zip(parts, config.phases, borders(config), strict=True):
            if start >= stop:
                own.append(
                    f"{place}.share={part.share:g} must be a step or more of config.train.steps={config.train.steps}"
                )
    yield from own
    if own:
        return
    for place, phase in zip(parts, phases(config), strict=True):
        yield from (f"{place}: {fault}" for fault in _row_faults(phase.config))
    for start, stop, optim in schedule_pieces(config):
        place = next(p for p, (first, _) in zip(parts, borders(config), strict=True) if first == start)
        yield from _piece_faults(optim, stop - start, place, "the steps of its piece of the schedule")


def _phase_value_faults(configs: tuple[PhaseConfig, ...], places: list[str]) -> Iterator[str]:
    for place, part in zip(places, configs, strict=True):
        yield from _range_faults(part, f"{place}.")
        for pattern in part.frozen:
            if reason := bad_pattern(pattern):
                yield f"{place}.frozen={pattern!r} must be a regular expression: {reason}"


# ---------------------------------------------------------------------------------------------
# Rows: what phases may change is checked for each of them
# ---------------------------------------------------------------------------------------------


def _row_faults(config: PretrainConfig) -> Iterator[str]:
    data, model = config.data, config.model
    yield from _masking_faults(config.masking, data)
    if data.sequence_length > model.max_positions:
        yield (
            f"config.data.sequence_length={data.sequence_length} must be <="
            f" config.model.max_positions={model.max_positions}"
        )
    yield from _data_faults(data)
    if data.sentence_objective != "none" and model.pooler == "none":
        yield (
            f"config.model.pooler='none' must be tanh or gelu for config.data.sentence_objective"
            f"={data.sentence_objective!r}: the pair head reads the pooler"
        )
    yield from _batch_faults(config.train)


def _batch_faults(train: TrainConfig) -> Iterator[str]:
    if train.accumulate > 0 and train.batch_size % train.accumulate:
        yield (
            f"config.train.batch_size={train.batch_size} must be a multiple of"
            f" config.train.accumulate={train.accumulate}"
        )


def _masking_faults(masking: MaskingConfig, data: DataConfig) -> Iterator[str]:
    total = masking.mask + masking.random + masking.keep
    if abs(total - 1) > 1e-6:
        yield (
            f"config.masking.mask={masking.mask} + random={masking.random} + keep={masking.keep}"
            f" = {total:.6g} must be 1"
        )
    if masking.max_predictions > data.sequence_length:
        yield (
            f"config.masking.max_predictions={masking.max_predictions} must be <="
            f" config.data.sequence_length={data.sequence_length}"
        )


def _data_faults(data: DataConfig) -> Iterator[str]:
    sources = data.sources()
    if not sources:
        yield f"config.data.path={data.path!r} must name a source"
    if data.weights and len(data.weights) != len(sources):
        yield (
            f"config.data.weights={data.weights} must be one for each of the {len(sources)} entries of"
            f" config.data.path={data.path!r}"
        )
    if any(weight <= 0 for weight in data.weights):
        yield f"config.data.weights={data.weights} must all be > 0"
    if data.sentence_objective != "none" and data.format not in PAIR_FORMATS:
        yield (
            f"config.data.format={data.format!r} must be one of {', '.join(PAIR_FORMATS)} for"
            f" config.data.sentence_objective={data.sentence_objective!r}"
        )
    if data.boundaries != "cut" and data.format != "segment_pair":
        yield (
            f"config.data.boundaries={data.boundaries!r} must go with config.data.format='segment_pair',"
            f" not {data.format!r}"
        )
    draws_elsewhere = data.sentence_objective == "nsp" or "lone_is_random" in data.quirks
    for quirk, has_effect, rule in (
        ("lone_is_random", data.sentence_objective != "none", "config.data.sentence_objective nsp or sop"),
        ("ten_draws", draws_elsewhere, "config.data.sentence_objective='nsp' or the quirk 'lone_is_random'"),
        (
            "short_per_document",
            data.format != "sentence_pair",
            "a config.data.format other than 'sentence_pair'",
        ),
    ):
        if quirk in data.quirks and not has_effect:
            yield f"config.data.quirks={data.quirks}: {quirk!r} must go with {rule}, or it does nothing"


# ---------------------------------------------------------------------------------------------
# Model and objective
# ---------------------------------------------------------------------------------------------


def _model_faults(model: ModelConfig) -> Iterator[str]:
    if model.head.kind != "none":
        yield f"config.model.head.kind={model.head.kind!r} must be 'none': `bert-jax finetune` trains task heads"
    if model.num_heads > 0 and model.hidden_size % model.num_heads:
        yield (
            f"config.model.hidden_size={model.hidden_size} must be a multiple of"
            f" config.model.num_heads={model.num_heads}"
        )
    if model.groups > 0 and model.num_layers % model.groups:
        yield (
            f"config.model.groups={model.groups} must divide config.model.num_layers={model.num_layers}:"
            " groups have as many layers each"
        )
    if model.groups != 1 and model.sharing == "none":
        yield f"config.model.groups={model.groups} must be 1 for config.model.sharing='none', or it does nothing"
    if model.attention_backend == "cudnn" and (model.dtype, model.attention_dropout_rate) != ("bfloat16", 0):
        yield (
            "config.model.attention_backend='cudnn' must have config.model.dtype='bfloat16' (is"
            f" {model.dtype!r}) and config.model.attention_dropout_rate=0 (is {model.attention_dropout_rate})"
        )
    if model.attention == "disentangled":
        yield from _disentangled_faults(model)


def _disentangled_faults(model: ModelConfig) -> Iterator[str]:
    if model.embedding_size:
        yield (
            f"config.model.embedding_size={model.embedding_size} must be 0 for"
            " config.model.attention='disentangled'"
        )
    if model.position_offset and not model.enhanced_mask_decoder:
        yield (
            f"config.model.position_offset={model.position_offset} must be 0 without absolute positions"
            " (config.model.attention='disentangled', enhanced_mask_decoder=False), or it does nothing"
        )
    if model.attention_backend == "cudnn":
        yield (
            "config.model.attention_backend='cudnn' must go with config.model.attention='absolute': the fused"
            " kernel has no relative positions"
        )
    if not model.relative_terms or len(set(model.relative_terms)) != len(model.relative_terms):
        yield f"config.model.relative_terms={model.relative_terms} must be c2p, p2c or both, each once"
    if model.relative_buckets and (
        model.relative_buckets % 2 or model.relative_buckets >= model.relative_span
    ):
        yield (
            f"config.model.relative_buckets={model.relative_buckets} must be 0, or even and <"
            f" config.model.relative_span={model.relative_span}"
        )
    if model.convolution > 0 and model.convolution % 2 == 0:
        yield f"config.model.convolution={model.convolution} must be 0 or odd: taps lie around each token"


def _objective_faults(config: PretrainConfig) -> Iterator[str]:
    """What an objective asks of the rest of the configuration."""
    rules = {"mlm": _no_faults, "rtd": _replaced_token_faults}
    return rules[config.objective.name](config)


def _no_faults(config: PretrainConfig) -> Iterator[str]:
    yield from ()


def _replaced_token_faults(config: PretrainConfig) -> Iterator[str]:
    objective, model, parallel = config.objective, config.model, config.parallel
    if config.data.sentence_objective != "none":
        yield (
            f"config.data.sentence_objective={config.data.sentence_objective!r} must be 'none' for"
            " config.objective.name='rtd'"
        )
    if model.num_heads < 1 or model.hidden_size % model.num_heads:
        return  # a fault of its own, and no generator to speak of
    generator = generator_config(model, objective)
    given = f"config.objective.generator_width={objective.generator_width}"
    if model.attention == "disentangled" and generator.embedding_size:
        yield (
            f"{given} must leave the generator config.model.hidden_size={model.hidden_size} (leaves"
            f" {generator.hidden_size}) for config.model.attention='disentangled' with"
            f" config.objective.embedding_sharing={objective.embedding_sharing!r}: set 1, or 'none'"
        )
    if model.groups > 0 and generator.num_layers % model.groups:
        yield (
            f"config.objective.generator_depth={objective.generator_depth} leaves the generator"
            f" {generator.num_layers} layers, which must be a multiple of config.model.groups={model.groups}"
        )
    for axis, size, what, width in (
        ("fsdp", parallel.fsdp, "hidden size", generator.hidden_size),
        ("tensor", parallel.tensor, "heads", generator.num_heads),
        ("tensor", parallel.tensor, "MLP width", generator.mlp_size),
    ):
        if size > 0 and width % size:
            yield (
                f"{given} leaves the generator {what} {width}, which must be a multiple of"
                f" config.parallel.{axis}={size}"
            )
