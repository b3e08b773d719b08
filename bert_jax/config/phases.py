"""The phases of a run: rows of one length, then longer ones (Devlin et al. 2019, appendix A.2)."""

from __future__ import annotations

import dataclasses
import math

from bert_jax.config.schema import Config


@dataclasses.dataclass(frozen=True)
class Phase:
    """Steps `start` to `stop` - 1 of a run. `config` is the run's with this phase's row length L and
    prediction slots M, and without phases of its own."""

    config: Config
    start: int
    stop: int


def phases(config: Config) -> tuple[Phase, ...]:
    """The phases of `config` in order: one, or two where `data.first_length` is set.

    Steps, and so example ids and the learning rate, count over the whole run.
    """
    steps, first = config.train.steps, config.data.first_length
    last = _with_length(config, config.data.sequence_length, config.masking.max_predictions)
    if not first:
        return (Phase(last, 0, steps),)
    change = first_steps(config)
    return (
        Phase(_with_length(config, first, _first_slots(config)), 0, change),
        Phase(last, change, steps),
    )


def token_slots(config: Config) -> int:
    """Tokens of the whole run, padding included: steps x rows x length over its phases."""
    return sum(
        (phase.stop - phase.start) * config.train.batch_size * phase.config.data.sequence_length
        for phase in phases(config)
    )


def first_steps(config: Config) -> int:
    """How many steps rows of `data.first_length` last."""
    return round(config.data.first_share * config.train.steps)


def prediction_slots(rate: float, length: int) -> int:
    """M of a row of `length` tokens of which a share `rate` is predicted."""
    return math.ceil(round(rate * length, 6))


def _first_slots(config: Config) -> int:
    """M of the first phase: as many as its length needs, or its share of a number that was chosen."""
    rate, slots, data = config.masking.rate, config.masking.max_predictions, config.data
    if slots == prediction_slots(rate, data.sequence_length):
        return prediction_slots(rate, data.first_length)
    return math.ceil(slots * data.first_length / data.sequence_length)


def _with_length(config: Config, length: int, slots: int) -> Config:
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, sequence_length=length, first_length=0),
        masking=dataclasses.replace(config.masking, max_predictions=slots),
    )
