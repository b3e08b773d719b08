"""Learning-rate schedules, from optax, over a run of one or more pieces."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from bert_jax.config import OptimConfig, RunConfig
from bert_jax.config.phases import schedule_pieces


def make_schedule(config: RunConfig) -> optax.Schedule:
    """Learning rate at each 0-based update of the run: its pieces, one after another."""
    pieces = [
        (start, stop, make_piece(optim, stop - start)) for start, stop, optim in schedule_pieces(config)
    ]
    if len(pieces) == 1:
        return pieces[0][2]
    return optax.join_schedules([piece for _, _, piece in pieces], [start for start, _, _ in pieces[1:]])


def make_piece(optim: OptimConfig, steps: int) -> optax.Schedule:
    """Learning rate at each of `steps` updates, peaking at `learning_rate` after `warmup_steps`."""
    peak, warmup = optim.learning_rate, optim.warmup_steps
    if optim.schedule == "bert_linear":
        return _bert_linear(peak, warmup, steps)
    if optim.schedule == "linear":
        decay = optax.linear_schedule(peak, 0.0, steps - warmup)
    elif optim.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, steps - warmup)
    else:
        decay = optax.constant_schedule(peak)
    if warmup == 0:
        return decay
    # Update 0 already moves: the ramp reaches its peak at update `warmup`, from peak / (warmup + 1).
    ramp = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    return optax.join_schedules([ramp, decay], [warmup])


def _bert_linear(peak: float, warmup: int, steps: int) -> optax.Schedule:
    """google-research/bert `optimization.py`: the decay counts from step 0, the ramp replaces its start.

    So the rate is 0 at step 0 and steps down from peak to peak * (1 - warmup / steps) as warmup ends.
    """

    def schedule(step: jax.Array) -> jax.Array:
        decayed = peak * (1 - jnp.minimum(step, steps) / steps)
        return jnp.where(step < warmup, peak * step / max(warmup, 1), decayed)

    return schedule
