"""One training step and one evaluation step, written once for every driver and task.

`reduce` adds a tree over the devices that hold parts of the batch, `gather` joins the rows that they hold. Under jit
over a mesh the body sees the global batch and both are the identity; under pmap it sees one device's rows, and they
are a psum and an all-gather. `whole` gives parameters as they are computed with, where the mesh stores each in parts.
Nothing else differs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bert_jax.objectives.sums import Objective, Sums, add
from bert_jax.training.groups import with_frozen
from bert_jax.training.state import TrainState

Reduce = Callable[[Any], Any]
SKIPPED = "skipped"
"""The metric of a window: the share of its steps that updated nothing."""


def train_step(
    state: TrainState,
    constants: Any,
    batch: Any,
    *,
    reduce: Reduce,
    whole: Reduce,
    objective: Objective,
    optimizer: optax.GradientTransformation,
    accumulate: int,
    frozen: Any = None,
    ema: float = 0.0,
    skip_norm: float = 0.0,
) -> tuple[TrainState, Sums]:
    """One update from `batch`, whose rows are taken in `accumulate` micro-batches.

    Args:
      constants: what the objective reads besides the trained parameters, such as a teacher's.
      frozen: a tree like the parameters, True for those that stay as they are, moments included; None: none do.
      ema: decay of the state's average, if it keeps one.
      skip_norm: the largest gradient norm of a step that updates anything; 0: every step does, and one that is not finite
        is noted as `failed_step`. Of a step left out the window counts that alone.

    Returns the new state and this step's sums, which are small and stay when the state is donated.
    """
    weights = reduce(objective.weights(batch))
    # Named, so that a process-wide choice of generator does not change the run.
    dropout_key = jax.random.fold_in(jax.random.key(state.seed, impl="threefry2x32"), state.step)
    constants = whole(constants)
    trained, with_rest = _split(state.params, frozen)

    def loss(trained: Any, rows: Any) -> tuple[jax.Array, Sums]:
        # In here, so that gradients are summed whole too, before each device keeps its part of them.
        return objective.loss(whole(with_rest(trained)), constants, rows, dropout_key, weights)

    gradient = jax.value_and_grad(loss, has_aux=True)

    def micro_step(rows: Any) -> tuple[Any, Sums]:
        (_, sums), grads = gradient(trained, rows)
        return grads, sums

    grads, sums = reduce(_accumulated(micro_step, batch, accumulate))
    with jax.named_scope("optimizer"):
        grad_norm = optax.tree.norm(grads)
        params, opt_state = _update(state, grads, optimizer, frozen)
    sums = {**sums, "grad_norm": (grad_norm, jnp.float32(1))}

    finite = jnp.all(jnp.isfinite(jnp.stack([total for total, _ in sums.values()])))
    updated = dataclasses.replace(
        state, params=params, opt_state=opt_state, window=sums, average=_averaged(state, params, ema)
    )
    failed_step = state.failed_step
    if skip_norm > 0:
        updated = _unless_skipped(finite & (grad_norm <= skip_norm), updated, state)
    else:
        failed_step = jnp.where((failed_step < 0) & ~finite, state.step, failed_step)
    window = add(state.window, updated.window)
    return dataclasses.replace(updated, step=state.step + 1, window=window, failed_step=failed_step), sums


def _unless_skipped(is_taken: jax.Array, updated: TrainState, state: TrainState) -> TrainState:
    """`updated` if the step is taken, else `state`; its window is of this step, and counts which it was.

    The optimizer's clock goes on, so that the learning rate stays that of the step.
    """

    def either(new: Any, old: Any) -> Any:
        def leaf(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(is_taken, new, old) if jnp.issubdtype(new.dtype, jnp.floating) else new

        return jax.tree.map(leaf, new, old)

    window = either(updated.window, jax.tree.map(jnp.zeros_like, updated.window))
    return dataclasses.replace(
        updated,
        params=either(updated.params, state.params),
        opt_state=either(updated.opt_state, state.opt_state),
        average=either(updated.average, state.average),
        window={**window, SKIPPED: ((~is_taken).astype(jnp.float32), jnp.float32(1))},
    )


def eval_step(
    params: Any,
    constants: Any,
    batch: Any,
    *,
    reduce: Reduce,
    gather: Reduce,
    whole: Reduce,
    objective: Objective,
) -> tuple[Sums, Mapping[str, jax.Array]]:
    """Sums and predictions of one batch, without dropout; predictions with the ids of their rows."""
    output = objective.forward(whole(params), whole(constants), batch, None)
    predictions = objective.predictions(output, batch)
    if predictions:
        predictions = gather({**predictions, "example_ids_B": batch["example_ids_B"]})
    return reduce(objective.sums(output, batch)), predictions


def metric_names(
    objective: Objective, params: Any, constants: Any, batch: Any, *, skip_norm: float = 0.0
) -> tuple[str, ...]:
    """The names a training step's window holds, found without computing."""
    sums = jax.eval_shape(
        lambda p, c, b: objective.sums(objective.forward(p, c, b, None), b), params, constants, batch
    )
    return (*sums, "grad_norm", *([SKIPPED] if skip_norm > 0 else []))


def _split(params: Any, frozen: Any) -> tuple[Any, Callable[[Any], Any]]:
    """(the parameters to differentiate by, a function from these to the whole tree)."""
    if frozen is None:
        return params, lambda trained: trained
    leaves, treedef = jax.tree.flatten(params)
    stays = jax.tree.leaves(frozen)
    trained = [leaf for leaf, still in zip(leaves, stays, strict=True) if not still]

    def whole(trained: list[Any]) -> Any:
        moving = iter(trained)
        merged = [leaf if still else next(moving) for leaf, still in zip(leaves, stays, strict=True)]
        return jax.tree.unflatten(treedef, merged)

    return trained, whole


def _update(
    state: TrainState, grads: Any, optimizer: optax.GradientTransformation, frozen: Any
) -> tuple[Any, Any]:
    """(parameters, optimizer state) after one update."""
    if frozen is None:
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        return optax.apply_updates(state.params, updates), opt_state
    zeros, moving = jax.tree.map(jnp.zeros_like, state.params), iter(grads)
    grads = jax.tree.map(lambda zero, still: zero if still else next(moving), zeros, frozen)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = jax.tree.map(
        lambda still, old, new: old if still else new,
        frozen,
        state.params,
        optax.apply_updates(state.params, updates),
    )
    return params, with_frozen(frozen, state.opt_state, opt_state)


def _averaged(state: TrainState, params: Any, ema: float) -> Any:
    """The average after the update of `state` to `params`; None: the run keeps none.

    The decay of update t = 1, 2, ... is min(ema, (1 + t) / (10 + t)), so that the parameters that the run began with do not
    linger (TensorFlow's ExponentialMovingAverage with num_updates).
    """
    if state.average is None:
        return None
    update = (state.step + 1).astype(jnp.float32)
    rate = jnp.maximum(1 - ema, 9 / (10 + update))  # 1 - decay, without the rounding of a decay near 1
    return jax.tree.map(lambda old, new: old + rate * (new - old), state.average, params)


def _accumulated(micro_step: Callable[[Any], tuple[Any, Sums]], batch: Any, accumulate: int) -> Any:
    """Sum of `micro_step` over micro-batches; every one takes rows from every device's part."""
    if accumulate == 1:
        return micro_step(batch)

    def split(
        rows: jax.Array,
    ) -> jax.Array:  # [B, ...] -> [accumulate, B / accumulate, ...], rows r, r + accumulate, ...
        return jnp.swapaxes(rows.reshape(-1, accumulate, *rows.shape[1:]), 0, 1)

    micro_batches = jax.tree.map(split, batch)
    shapes = jax.eval_shape(micro_step, jax.tree.map(lambda rows: rows[0], micro_batches))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def body(total: Any, rows: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, micro_step(rows)), None

    total, _ = jax.lax.scan(body, zeros, micro_batches)
    return total
