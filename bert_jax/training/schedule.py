"""Learning-rate schedules, from optax where it has them, over a run of one or more pieces."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from bert_jax.config import OptimConfig, RunConfig
from bert_jax.config.phases import decay_steps, schedule_pieces


def make_schedule(config: RunConfig, *, of_peak: bool = False) -> optax.Schedule:
    """Learning rate at each 0-based update of the run: its pieces, one after another.

    of_peak: the rate as a share of the peak of its piece, in [0, 1].
    """
    pieces = [
        (start, stop, dataclasses.replace(optim, learning_rate=1.0) if of_peak else optim)
        for start, stop, optim in schedule_pieces(config)
    ]
    return _joined([(start, make_piece(optim, stop - start)) for start, stop, optim in pieces])


def make_piece(optim: OptimConfig, steps: int) -> optax.Schedule:
    """Learning rate at each of `steps` updates, peaking at `learning_rate` after `warmup_steps`.

    Where a decay ends is the rate of an update after the last.
    """
    peak, warmup = optim.learning_rate, optim.warmup_steps
    if optim.schedule == "bert_linear":
        return _bert_linear(peak, warmup, steps)
    if warmup == 0:
        return _after_warmup(optim, steps)
    # Update 0 already moves: the ramp reaches its peak at update `warmup`, from peak / (warmup + 1).
    ramp = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return _joined([(0, ramp), (warmup, _after_warmup(optim, steps))])


def _after_warmup(optim: OptimConfig, steps: int) -> optax.Schedule:
    """The rest of a piece of `steps`, its warmup included, from its first update at the peak."""
    peak, rest = optim.learning_rate, steps - optim.warmup_steps
    if optim.schedule == "polynomial":
        return optax.polynomial_schedule(peak, optim.floor * peak, optim.power, rest)
    if optim.schedule == "inverse_sqrt":
        return _inverse_sqrt(peak, optim.warmup_steps)
    if optim.schedule == "wsd":
        decay = decay_steps(optim, steps)
        falling = _falling(optim.decay_curve, optim, decay)
        return _joined([(0, optax.constant_schedule(peak)), (rest - decay, falling)])
    if optim.schedule == "constant":
        return optax.constant_schedule(peak)
    return _falling(optim.schedule, optim, rest)


def _falling(curve: str, optim: OptimConfig, steps: int) -> optax.Schedule:
    """From the peak at update 0 to the floor at update `steps`."""
    peak, floor = optim.learning_rate, optim.floor
    if curve == "linear":
        return optax.linear_schedule(peak, floor * peak, steps)
    if curve == "cosine":
        return optax.cosine_decay_schedule(peak, steps, alpha=floor)

    def one_minus_sqrt(step: jax.Array) -> jax.Array:
        """Hägele et al. 2024, section 4; ModernBERT, section 2.2.1."""
        return peak * (floor + (1 - floor) * (1 - jnp.sqrt(jnp.clip(step, 0, steps) / steps)))

    return one_minus_sqrt


def _inverse_sqrt(peak: float, warmup: int) -> optax.Schedule:
    """Vaswani et al. 2017, section 5.3, scaled so that the rate is `peak` where the warmup ends.

    Counted from 1, update n has peak * sqrt((warmup + 1) / n).
    """

    def schedule(step: jax.Array) -> jax.Array:
        return peak * jnp.sqrt((warmup + 1) / (warmup + 1 + jnp.maximum(step, -warmup)))

    return schedule


def _bert_linear(peak: float, warmup: int, steps: int) -> optax.Schedule:
    """google-research/bert `optimization.py`: the decay counts from step 0, the ramp replaces its start.

    So the rate is 0 at step 0 and steps down from peak to peak * (1 - warmup / steps) as warmup ends.
    """

    def schedule(step: jax.Array) -> jax.Array:
        decayed = peak * (1 - jnp.minimum(step, steps) / steps)
        return jnp.where(step < warmup, peak * step / max(warmup, 1), decayed)

    return schedule


def _joined(pieces: list[tuple[int, optax.Schedule]]) -> optax.Schedule:
    """(first update, schedule from its own 0) of each piece, one after another."""
    if len(pieces) == 1:
        return pieces[0][1]
    return optax.join_schedules([piece for _, piece in pieces], [start for start, _ in pieces[1:]])
