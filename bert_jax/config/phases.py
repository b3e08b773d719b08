"""The phases of a run: parts with a row length, batch size, masking rate or learning rate of their own.

BERT's rows of 128, then of 512 (Devlin et al. 2019, appendix A.2), are two. Steps, rows and the optimizer's state
count over the whole run, so that a border changes nothing but the values that a phase names. So a ramp of the batch
size in equal steps (ModernBERT, appendix A) is one phase a size, as an experiment's

    [{"share": 0.06 / 6, "batch_size": size} for size in range(768, 4609, 768)] + [{"share": 0.94}]

of which each compiles a step of its own; the schedule of the learning rate runs on through them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator

from bert_jax.config.options import replaced
from bert_jax.config.pretrain import PretrainConfig
from bert_jax.config.run import OptimConfig, PhaseConfig, RunConfig


@dataclasses.dataclass(frozen=True)
class ResolvedPhase:
    """Steps `start` to `stop` - 1 of a run.

    config: the run's with the values of this phase, and without phases of its own.
    first_row: rows of the run before it, the global number of its first one.
    """

    config: PretrainConfig
    start: int
    stop: int
    first_row: int = 0
    frozen: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        return self.stop - self.start


def phases(config: PretrainConfig) -> tuple[ResolvedPhase, ...]:
    """The phases of `config` in order, without a gap; one where it names none."""
    parts = config.phases or (PhaseConfig(),)
    found: list[ResolvedPhase] = []
    first_row = 0
    for part, (start, stop) in zip(parts, borders(config), strict=True):
        of_phase = _with_values(config, part)
        found.append(ResolvedPhase(of_phase, start, stop, first_row, part.frozen))
        first_row += (stop - start) * of_phase.train.batch_size
    return tuple(found)


def config_at(config: PretrainConfig, step: int) -> PretrainConfig:
    """The run's configuration with the values of the phase that made update `step` - 1, which a checkpoint of this step
    was last trained with."""
    found = [phase for phase in phases(config) if phase.start < step]
    return found[-1].config if found else phases(config)[0].config


def borders(config: RunConfig) -> list[tuple[int, int]]:
    """(first step, last step + 1) of each phase."""
    shares = [part.share for part in config.phases] or [1.0]
    stops = [round(sum(shares[: place + 1]) * config.train.steps) for place in range(len(shares) - 1)]
    return list(zip([0, *stops], [*stops, config.train.steps], strict=True))


PIECE_OPTIONS = (
    "learning_rate",
    "schedule",
    "warmup_steps",
    "floor",
    "power",
    "decay_share",
    "decay_curve",
)
"""Options of a phase that begin a new piece of the schedule; `OptimConfig` has each by the same name."""


def schedule_pieces(config: RunConfig) -> Iterator[tuple[int, int, OptimConfig]]:
    """(first step, last step + 1, values) of each piece of the learning-rate schedule."""
    starts, values = [0], [config.optim]
    for part, (start, _) in zip(config.phases, borders(config), strict=False):
        given = {name: value for name in PIECE_OPTIONS if (value := getattr(part, name)) is not None}
        if not given:
            continue
        before = values[-1]
        if start == 0:  # the run's own first piece
            starts, values, warmup = [], [], before.warmup_steps
        else:
            warmup = 0
        starts.append(start)
        values.append(dataclasses.replace(before, **{"warmup_steps": warmup, **given}))
    return zip(starts, [*starts[1:], config.train.steps], values, strict=True)


def decay_steps(optim: OptimConfig, steps: int) -> int:
    """Updates at the end of a `wsd` piece of `steps` over which the rate falls; at least one."""
    return max(1, round(optim.decay_share * steps))


def token_slots(config: PretrainConfig) -> int:
    """Tokens of the whole run, padding included: steps x rows x length over its phases."""
    return sum(
        phase.steps * phase.config.train.batch_size * phase.config.data.sequence_length
        for phase in phases(config)
    )


def prediction_slots(rate: float, length: int) -> int:
    """M of a row of `length` tokens of which a share `rate` is predicted."""
    return math.ceil(round(rate * length, 6))


def _with_values(config: PretrainConfig, part: PhaseConfig) -> PretrainConfig:
    data, masking, train = config.data, config.masking, config.train
    length = data.sequence_length if part.sequence_length is None else part.sequence_length
    rate = masking.rate if part.masking_rate is None else part.masking_rate
    if masking.max_predictions == prediction_slots(masking.rate, data.sequence_length):
        slots = prediction_slots(rate, length)
    else:  # a number that was chosen: the phase has its share of it
        share = (length / data.sequence_length) * (rate / masking.rate)
        slots = math.ceil(round(masking.max_predictions * share, 6))
    bases = {"rotary.base": part.rotary_base, "rotary.local_base": part.rotary_local_base}
    return dataclasses.replace(
        config,
        phases=(),
        model=replaced(config.model, {key: base for key, base in bases.items() if base is not None}),
        data=dataclasses.replace(
            data, sequence_length=length, packing=data.packing if part.packing is None else part.packing
        ),
        masking=dataclasses.replace(masking, rate=rate, max_predictions=slots),
        train=dataclasses.replace(
            train, batch_size=train.batch_size if part.batch_size is None else part.batch_size
        ),
    )


def bad_pattern(pattern: str) -> str:
    """Why `pattern` is no regular expression; empty if it is one."""
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""
