"""The rules that a configuration keeps, over values and between groups. Needs no device and no data."""

from __future__ import annotations

from collections.abc import Iterator

from bert_jax.config.electra import generator_config
from bert_jax.config.phases import first_steps
from bert_jax.config.presets import ModelConfig
from bert_jax.config.schema import Config, DataConfig, ObjectiveConfig, walk


def validate(config: Config) -> list[str]:
    """Every broken rule, as `config.a=1 must be < config.b=0`. Needs no device and no data."""
    return [*_range_faults(config), *_rule_faults(config)]


# Half-open or closed intervals that single fields must lie in.
_POSITIVE = (
    "data.sequence_length", "data.packing", "tokenizer.vocab_size", "tokenizer.training_words",
    "masking.max_predictions", "masking.max_ngram", "masking.max_span", "masking.copies",
    "objective.rtd_weight", "objective.temperature", "model.hidden_size",
    "model.num_layers", "model.num_heads", "model.mlp_size", "model.max_positions",
    "model.groups", "model.relative_span", "model.layer_norm_eps", "model.initializer_range", "optim.learning_rate",
    "optim.eps", "parallel.fsdp", "parallel.tensor", "parallel.timeout", "train.steps", "train.batch_size",
    "train.accumulate", "train.log_every", "train.eval_every", "checkpoint.every", "checkpoint.keep",
)  # fmt: skip
_NOT_NEGATIVE = (
    "seed", "data.first_length", "cleaning.min_characters", "cleaning.boilerplate_documents",
    "model.embedding_size", "model.position_offset", "model.type_vocab_size", "model.relative_buckets",
    "model.convolution", "optim.warmup_steps", "optim.weight_decay", "optim.clip_norm", "train.eval_batches",
)  # fmt: skip
_SHARES = ("data.short_sequence_probability", "masking.mask", "masking.random", "masking.keep")
_BELOW_ONE = (
    "data.eval_fraction", "model.dropout_rate", "model.attention_dropout_rate", "optim.b1", "optim.b2",
)  # fmt: skip
_PARTS = ("objective.generator_width", "objective.generator_depth")
_BETWEEN_ZERO_AND_ONE = ("data.first_share", "masking.rate", "masking.span_p")


def _range_faults(config: Config) -> Iterator[str]:
    values = dict(walk(config))
    for keys, holds, rule in (
        (_POSITIVE, lambda v: v > 0, "> 0"),
        (_NOT_NEGATIVE, lambda v: v >= 0, ">= 0"),
        (_SHARES, lambda v: 0 <= v <= 1, "in [0, 1]"),
        (_BELOW_ONE, lambda v: 0 <= v < 1, "in [0, 1)"),
        (_PARTS, lambda v: 0 < v <= 1, "in (0, 1]"),
        (_BETWEEN_ZERO_AND_ONE, lambda v: 0 < v < 1, "in (0, 1)"),
    ):
        for key in keys:
            if not holds(values[key]):
                yield f"config.{key}={values[key]} must be {rule}"


PAIR_FORMATS = ("segment_pair", "sentence_pair")


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
    if data.first_length and not 8 <= data.first_length < data.sequence_length:
        yield (
            f"config.data.first_length={data.first_length} must be 0, or >= 8 and <"
            f" config.data.sequence_length={data.sequence_length}"
        )
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


def _model_faults(model: ModelConfig) -> Iterator[str]:
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
    yield from _attention_faults(model)


def _attention_faults(model: ModelConfig) -> Iterator[str]:
    """What only disentangled attention has, and what it lacks."""
    if model.attention == "absolute":
        plain = ModelConfig()
        for field in _DISENTANGLED:
            if getattr(model, field) != getattr(plain, field):
                yield (
                    f"config.model.{field}={getattr(model, field)!r} must go with"
                    " config.model.attention='disentangled', or it does nothing"
                )
        return
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


# The fields that do nothing without disentangled attention.
_DISENTANGLED = (
    "relative_span", "relative_buckets", "relative_terms", "relative_projections", "relative_norm",
    "key_bias", "convolution", "enhanced_mask_decoder",
)  # fmt: skip


def _objective_faults(config: Config) -> Iterator[str]:
    """What replaced-token detection asks of the rest, and what its fields are without it."""
    objective, model, parallel = config.objective, config.model, config.parallel
    if objective.name == "mlm":
        for field, value in vars(ObjectiveConfig()).items():
            if getattr(objective, field) != value:
                yield (
                    f"config.objective.{field}={getattr(objective, field)!r} must go with"
                    " config.objective.name='rtd', or it does nothing"
                )
        return
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


def _rule_faults(config: Config) -> Iterator[str]:
    data, masking, model = config.data, config.masking, config.model
    train, parallel = config.train, config.parallel
    if config.seed >= 2**31:
        yield f"config.seed={config.seed} must be < 2147483648 = 2**31"
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
    yield from _data_faults(data)
    if data.first_length and train.steps > 0 and first_steps(config) in (0, train.steps):
        yield (
            f"config.data.first_share={data.first_share} must leave each length a step of"
            f" config.train.steps={train.steps}"
        )
    yield from _model_faults(model)
    yield from _objective_faults(config)
    if data.sentence_objective != "none" and model.pooler == "none":
        yield (
            f"config.model.pooler='none' must be tanh or gelu for config.data.sentence_objective"
            f"={data.sentence_objective!r}: the pair head reads the pooler"
        )
    if model.vocab_size != config.tokenizer.vocab_size:
        yield (
            f"config.model.vocab_size={model.vocab_size} must equal"
            f" config.tokenizer.vocab_size={config.tokenizer.vocab_size}"
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
        ("fsdp", parallel.fsdp, "embedding_size", model.embedding_size),
        ("tensor", parallel.tensor, "num_heads", model.num_heads),
        ("tensor", parallel.tensor, "mlp_size", model.mlp_size),
    ):
        if size > 0 and width % size:
            yield f"config.model.{field}={width} must be a multiple of config.parallel.{axis}={size}"
