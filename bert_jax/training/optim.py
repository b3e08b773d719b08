"""Optimizers and learning-rate schedules, from optax."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bert_jax.config import Config, OptimConfig


def make_schedule(optim: OptimConfig, steps: int) -> optax.Schedule:
    """Learning rate at each 0-based update, peaking at `learning_rate` after `warmup_steps`."""
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

    def schedule(step):
        decayed = peak * (1 - jnp.minimum(step, steps) / steps)
        return jnp.where(step < warmup, peak * step / max(warmup, 1), decayed)

    return schedule


def decays(params: Any) -> Any:
    """True for the parameters that weight decay acts on: all but biases and LayerNorm (BERT's code)."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key not in ("bias", "scale"), params)


class _MomentsState(NamedTuple):
    mu: optax.Updates
    nu: optax.Updates


def scale_by_adam_without_correction(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """m / (sqrt(v) + eps) with moments that start at zero and stay biased (BERT's AdamWeightDecay)."""

    def init(params) -> _MomentsState:
        return _MomentsState(mu=optax.tree.zeros_like(params), nu=optax.tree.zeros_like(params))

    def update(grads, state, params=None):
        del params
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, grads)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu, nu)
        return updates, _MomentsState(mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Clip by global norm, Adam, decoupled weight decay, for LAMB each matrix's update scaled to the norm of the
    matrix (You et al. 2020, algorithm 2; as in ALBERT's code not for biases and LayerNorm), learning rate."""
    optim = config.optim
    if optim.name == "adamw":
        adam = optax.scale_by_adam(optim.b1, optim.b2, optim.eps)
    else:
        adam = scale_by_adam_without_correction(optim.b1, optim.b2, optim.eps)
    is_lamb = optim.name == "lamb"
    return optax.chain(
        optax.clip_by_global_norm(optim.clip_norm) if optim.clip_norm else optax.identity(),
        adam,
        optax.add_decayed_weights(optim.weight_decay, mask=decays),
        optax.masked(optax.scale_by_trust_ratio(), decays) if is_lamb else optax.identity(),
        optax.scale_by_learning_rate(make_schedule(optim, config.train.steps)),
    )
