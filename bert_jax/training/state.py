"""What a run carries from one step to the next, all of it in a checkpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from bert_jax.objectives.sums import Sums

Array = jax.Array


@flax.struct.dataclass
class TrainState:
    """No leading device axis, under jit and pmap alike. The data's place in the corpus is `step` itself."""

    step: Array
    """updates made so far, int32"""
    params: Any
    opt_state: Any
    window: Sums
    """sums since the last train line of metrics.jsonl; saved, so that a resumed run logs what an uninterrupted one does"""
    failed_step: Array
    """first step whose loss or gradient was not finite; -1 while all is well"""
    seed: Array
    """config.seed modulo 2^32, uint32: data, not a constant, so that runs that differ in it share a program"""


def create(
    params: Any, optimizer: optax.GradientTransformation, metric_names: tuple[str, ...], *, seed: Any = 0
) -> TrainState:
    """The state before step 0."""
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=optimizer.init(params),
        window={name: (jnp.float32(0), jnp.float32(0)) for name in metric_names},
        failed_step=jnp.int32(-1),
        seed=jnp.uint32(seed),
    )


def clear_window(state: TrainState) -> TrainState:
    """The state after its window was logged."""
    return dataclasses.replace(state, window=jax.tree.map(jnp.zeros_like, state.window))


def saved_apart(state: TrainState) -> dict[str, Any]:
    """Everything of a state but its parameters, by name: the second item of a checkpoint."""
    return {
        field.name: getattr(state, field.name)
        for field in dataclasses.fields(state)
        if field.name != "params"
    }
