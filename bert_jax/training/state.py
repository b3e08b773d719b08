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
    average: Any = None
    """exponential average of `params` (config.train.ema), placed as they are; None: the run keeps none"""

    @property
    def model_params(self) -> Any:
        """The parameters that are scored, and that a model of this state has."""
        return self.params if self.average is None else self.average


def create(
    params: Any,
    optimizer: optax.GradientTransformation,
    metric_names: tuple[str, ...],
    *,
    seed: Any = 0,
    keeps_average: bool = False,
) -> TrainState:
    """The state before step 0."""
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=optimizer.init(params),
        window={name: (jnp.float32(0), jnp.float32(0)) for name in metric_names},
        failed_step=jnp.int32(-1),
        seed=jnp.uint32(seed),
        # Of its own memory: a step reuses that of both.
        average=jax.tree.map(jnp.copy, params) if keeps_average else None,
    )


def clear_window(state: TrainState) -> TrainState:
    """The state after its window was logged."""
    return dataclasses.replace(state, window=jax.tree.map(jnp.zeros_like, state.window))


def saved_apart(state: TrainState) -> dict[str, Any]:
    """Everything of a state but its parameters and their average, by name: an item of a checkpoint."""
    return {
        field.name: getattr(state, field.name)
        for field in dataclasses.fields(state)
        if field.name not in ("params", "average")
    }
