"""The rules of every kind of run: ranges, options without effect, schedule, phases, devices. Needs no device."""

from __future__ import annotations

from collections.abc import Iterator

from bert_jax.config.model import PALLAS_LANES, ModelConfig
from bert_jax.config.options import walk
from bert_jax.config.phases import PIECE_OPTIONS, bad_pattern, borders, decay_steps
from bert_jax.config.run import OptimConfig, ParallelConfig, RunConfig, TrainConfig


def range_faults(config: object, prefix: str = "config.") -> Iterator[str]:
    """Values outside the bounds of their option."""
    for key, value, field in walk(config):
        bounds = field.metadata["bounds"]
        if isinstance(value, int | float) and not isinstance(value, bool) and value not in bounds:
            yield f"{prefix}{key}={value} must be {bounds}"


def effect_faults(config: RunConfig) -> Iterator[str]:
    """Options that are set and do nothing, because another does not have the value they need."""
    values = {key: value for key, value, _ in walk(config)}
    for key, value, field in walk(config):
        other, _, needed = field.metadata["needs"].partition("=")
        if not needed or value == field.default:
            continue
        found = values[other]
        choices = needed.split("|")
        if found not in choices and not (isinstance(found, tuple) and needed in found):
            shown = " or ".join(map(repr, choices))
            yield f"config.{key}={value!r} must go with config.{other}={shown}, or it does nothing"


def piece_faults(optim: OptimConfig, steps: int, place: str, of: str) -> Iterator[str]:
    """A piece of the schedule that has fewer steps than its warmup and its decay need."""
    if optim.schedule == "wsd":
        decay = decay_steps(optim, steps)
        if optim.decay_share <= 1 and optim.warmup_steps + decay > steps:
            yield (
                f"{place}.warmup_steps={optim.warmup_steps} must be <= {of}={steps} less the {decay} of"
                f" decay_share={optim.decay_share:g}"
            )
    elif optim.schedule != "constant" and optim.warmup_steps >= steps:
        yield f"{place}.warmup_steps={optim.warmup_steps} must be < {of}={steps}"


def optim_faults(optim: OptimConfig) -> Iterator[str]:
    """What ranges and `needs` of the optimizer's options do not say."""
    if optim.weight_decay_by != "rate" and not optim.weight_decay:
        yield (
            f"config.optim.weight_decay_by={optim.weight_decay_by!r} must go with config.optim.weight_decay > 0, or it"
            " does nothing"
        )
    if 0 < optim.skip_norm <= optim.clip_norm:
        yield (
            f"config.optim.skip_norm={optim.skip_norm:g} must be above config.optim.clip_norm={optim.clip_norm:g}, or"
            " nothing is left to clip"
        )
    yield from rate_faults(optim)


def rate_faults(optim: OptimConfig) -> Iterator[str]:
    """Entries of optim.rates that are not PATTERN=RATE."""
    for entry in optim.rates:
        pattern, equals, rate = entry.rpartition("=")
        try:
            is_rate = bool(equals) and float(rate) > 0
        except ValueError:
            is_rate = False
        if not is_rate:
            yield f"config.optim.rates={entry!r} must be PATTERN=RATE with a rate > 0, such as layer_[0-5]/=1e-5"
        elif reason := bad_pattern(pattern):
            yield f"config.optim.rates={entry!r} must begin with a regular expression: {reason}"


def parallel_faults(parallel: ParallelConfig, model: ModelConfig) -> Iterator[str]:
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
    if (
        model.attention_backend == "pallas"
        and parallel.tensor > 1
        and model.hidden_size % (PALLAS_LANES * parallel.tensor)
    ):
        yield (
            f"config.model.hidden_size={model.hidden_size} must be a multiple of {PALLAS_LANES} x config.parallel.tensor="
            f"{parallel.tensor} for config.model.attention_backend='pallas'"
        )


def phase_value_faults(config: RunConfig, places: list[str]) -> Iterator[str]:
    """Values of phases that are out of range, no regular expressions, or of a schedule that the phase does not have."""
    needs = {field.name: field.metadata["needs"].partition("=")[2] for _, _, field in walk(config.optim)}
    schedule = config.optim.schedule
    for place, part in zip(places, config.phases, strict=True):
        schedule = part.schedule or schedule
        for name in PIECE_OPTIONS:
            value, choices = getattr(part, name), needs[name].split("|")
            if value is not None and needs[name] and schedule not in choices:
                shown = " or ".join(map(repr, choices))
                yield f"{place}.{name}={value!r} must go with the schedule {shown}, not {schedule!r}, or it does nothing"
        yield from range_faults(part, f"{place}.")
        for pattern in part.frozen:
            if reason := bad_pattern(pattern):
                yield f"{place}.frozen={pattern!r} must be a regular expression: {reason}"


def share_faults(config: RunConfig, places: list[str]) -> Iterator[str]:
    """Shares of phases that do not add up to 1, or leave a phase no step."""
    total = sum(part.share for part in config.phases)
    if abs(total - 1) > 1e-6:
        shares = " + ".join(f"{part.share:g}" for part in config.phases)
        yield f"config.phases: the shares {shares} = {total:.6g} must be 1"
        return
    for place, part, (start, stop) in zip(places, config.phases, borders(config), strict=True):
        if start >= stop:
            yield (
                f"{place}.share={part.share:g} must be a step or more of config.train.steps={config.train.steps}"
            )


def batch_faults(train: TrainConfig) -> Iterator[str]:
    if train.accumulate > 0 and train.batch_size % train.accumulate:
        yield (
            f"config.train.batch_size={train.batch_size} must be a multiple of"
            f" config.train.accumulate={train.accumulate}"
        )
