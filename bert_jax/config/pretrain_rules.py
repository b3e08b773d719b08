"""The rules that a configuration of pretraining keeps, over values and between groups. Needs no device and no data."""

from __future__ import annotations

from collections.abc import Iterator

from bert_jax.config.electra import generator_config
from bert_jax.config.model import PALLAS_LANES, PALLAS_ROW, TRITON_BLOCK, ModelConfig
from bert_jax.config.model_rules import model_faults
from bert_jax.config.phases import borders, phases, schedule_pieces
from bert_jax.config.pretrain import DataConfig, MaskingConfig, PretrainConfig
from bert_jax.config.run import PhaseConfig
from bert_jax.config.run_rules import (
    batch_faults,
    effect_faults,
    optim_faults,
    parallel_faults,
    phase_value_faults,
    piece_faults,
    range_faults,
    share_faults,
)

PAIR_FORMATS = ("segment_pair", "sentence_pair")


def validate(config: PretrainConfig) -> list[str]:
    """Every broken rule, as `config.a=1 must be < config.b=0`."""
    faults = [*range_faults(config), *effect_faults(config), *_run_faults(config), *_row_faults(config)]
    return faults or [*_phases_faults(config)]


# ---------------------------------------------------------------------------------------------
# The run: schedule, phases, devices
# ---------------------------------------------------------------------------------------------


def _run_faults(config: PretrainConfig) -> Iterator[str]:
    yield from piece_faults(config.optim, config.train.steps, "config.optim", "config.train.steps")
    yield from optim_faults(config.optim)
    yield from parallel_faults(config.parallel, config.model)
    if config.model.vocab_size != config.tokenizer.vocab_size:
        yield (
            f"config.model.vocab_size={config.model.vocab_size} must equal"
            f" config.tokenizer.vocab_size={config.tokenizer.vocab_size}"
        )
    yield from model_faults(config.model)
    yield from _objective_faults(config)


def _phases_faults(config: PretrainConfig) -> Iterator[str]:
    """Faults of phases; those of values that the run shares are the run's, and not repeated."""
    if not config.phases:
        return
    parts = [f"config.phases[{place}]" for place in range(len(config.phases))]
    own = [*phase_value_faults(config, parts), *share_faults(config, parts)]
    yield from own
    if own:
        return
    for place, part in zip(parts, config.phases, strict=True):
        yield from _base_faults(part, config.model, place)
    for place, phase in zip(parts, phases(config), strict=True):
        yield from (f"{place}: {fault}" for fault in _row_faults(phase.config))
    for start, stop, optim in schedule_pieces(config):
        place = next(p for p, (first, _) in zip(parts, borders(config), strict=True) if first == start)
        yield from piece_faults(optim, stop - start, place, "the steps of its piece of the schedule")


def _base_faults(part: PhaseConfig, model: ModelConfig, place: str) -> Iterator[str]:
    for name, reach in (("rotary_base", "global"), ("rotary_local_base", "local")):
        value = getattr(part, name)
        if value is not None and (model.positions != "rotary" or reach not in model.pattern):
            yield (
                f"{place}.{name}={value} must go with config.model.positions='rotary' and a {reach} layer in"
                f" config.model.pattern={','.join(model.pattern)}, or it does nothing"
            )


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
    if model.attention_backend == "pallas" and (
        data.sequence_length % PALLAS_LANES or data.sequence_length * model.hidden_size > PALLAS_ROW
    ):
        yield (
            f"config.data.sequence_length={data.sequence_length} must be a multiple of {PALLAS_LANES}, and at most"
            f" {PALLAS_ROW // model.hidden_size} for config.model.hidden_size={model.hidden_size}, for"
            " config.model.attention_backend='pallas'"
        )
    if model.attention_backend == "triton" and data.sequence_length % TRITON_BLOCK:
        yield (
            f"config.data.sequence_length={data.sequence_length} must be a multiple of {TRITON_BLOCK} for"
            " config.model.attention_backend='triton'"
        )
    yield from _data_faults(data)
    if data.sentence_objective != "none" and model.pooler == "none":
        yield (
            f"config.model.pooler='none' must be tanh or gelu for config.data.sentence_objective"
            f"={data.sentence_objective!r}: the pair head reads the pooler"
        )
    yield from batch_faults(config.train)


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
    if model.positions == "disentangled" and generator.embedding_size:
        yield (
            f"{given} must leave the generator config.model.hidden_size={model.hidden_size} (leaves"
            f" {generator.hidden_size}) for config.model.positions='disentangled' with"
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
