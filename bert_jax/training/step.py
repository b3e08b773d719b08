"""One training step and one evaluation step, written once for every driver.

`reduce` adds a tree over the devices that hold parts of the batch. Under jit over a mesh the body
sees the global batch and `reduce` is the identity; under pmap it sees one device's rows and
`reduce` is a psum. Nothing else differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bert_jax.objectives.sums import Objective, Sums, add
from bert_jax.training.state import TrainState

Reduce = Callable[[Any], Any]


def train_step(
    state: TrainState,
    batch: Any,
    *,
    reduce: Reduce,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    accumulate: int,
) -> tuple[TrainState, Sums]:
    """One update from `batch`, whose rows are taken in `accumulate` micro-batches.

    Returns the new state and this step's sums, which are small and stay when the state is donated.
    """
    weights = reduce(objective.weights(batch))
    # Named, so that a process-wide choice of generator does not change the run.
    dropout_key = jax.random.fold_in(jax.random.key(state.seed, impl="threefry2x32"), state.step)
    gradient = jax.value_and_grad(objective.loss, has_aux=True)

    def micro_step(rows) -> tuple[Any, Sums]:
        (_, sums), grads = gradient(state.params, rows, dropout_key, weights)
        return grads, sums

    grads, sums = reduce(_accumulated(micro_step, batch, accumulate))
    grad_norm = optax.tree.norm(grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    sums = {**sums, "grad_norm": (grad_norm, jnp.float32(1))}

    finite = jnp.all(jnp.isfinite(jnp.stack([total for total, _ in sums.values()])))
    failed_step = jnp.where((state.failed_step < 0) & ~finite, state.step, state.failed_step)
    state = TrainState(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        opt_state=opt_state,
        window=add(state.window, sums),
        failed_step=failed_step,
        seed=state.seed,
    )
    return state, sums


def eval_step(params: Any, batch: Any, *, reduce: Reduce, objective: Objective) -> Sums:
    """Sums of one batch, without dropout."""
    return reduce(objective.sums(objective.forward(params, batch, None), batch))


def metric_names(objective: Objective, params: Any, batch: Any) -> tuple[str, ...]:
    """The names a training step's window holds, found without computing."""
    sums = jax.eval_shape(lambda p, b: objective.sums(objective.forward(p, b, None), b), params, batch)
    return (*sums, "grad_norm")


def _accumulated(micro_step: Callable[[Any], tuple[Any, Sums]], batch: Any, accumulate: int):
    """Sum of `micro_step` over micro-batches; every one takes rows from every device's share."""
    if accumulate == 1:
        return micro_step(batch)

    def split(rows):  # [B, ...] -> [accumulate, B / accumulate, ...], rows r, r + accumulate, ... together
        return jnp.swapaxes(rows.reshape(-1, accumulate, *rows.shape[1:]), 0, 1)

    micro_batches = jax.tree.map(split, batch)
    shapes = jax.eval_shape(micro_step, jax.tree.map(lambda rows: rows[0], micro_batches))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def body(total, rows):
        return jax.tree.map(jnp.add, total, micro_step(rows)), None

    total, _ = jax.lax.scan(body, zeros, micro_batches)
    return total
