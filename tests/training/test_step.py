"""Frozen parameters: out of the gradient, the update and the moments; the rest as if they were constants. The average of
parameters against NumPy. Steps that are left out, or fail. What dropout is drawn from."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.objectives.sums import Objective
from bert_jax.training import state as states
from bert_jax.training.step import train_step

PARAMS = {
    "first": {"kernel": jnp.arange(6.0).reshape(2, 3) / 6},
    "second": {"kernel": jnp.arange(3.0) + 1},
}
FROZEN = {"first": {"kernel": True}, "second": {"kernel": False}}
BATCH = {"x_BD": np.arange(8.0).reshape(4, 2).astype(np.float32), "y_B": np.ones(4, np.float32)}


def forward(params, constants, batch, dropout_key):
    first = params.get("first", constants.get("first"))
    return jnp.tanh(batch["x_BD"] @ first["kernel"]) @ params["second"]["kernel"]


OBJECTIVE = Objective(
    forward=forward,
    sums=lambda guess_B, batch: {"mse": (jnp.sum((guess_B - batch["y_B"]) ** 2), jnp.float32(len(guess_B)))},
    weights=lambda batch: {"mse": jnp.float32(4)},
    terms={"mse": 1.0},
)
OPTIMIZER = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.1, weight_decay=0.1))


def run(params, constants, frozen, steps=3, state=None, accumulate=1, ema=0.0, skip_norm=0.0, batch=BATCH):
    names = ("mse", "grad_norm", *(["skipped"] if skip_norm else []))
    state = states.create(params, OPTIMIZER, names, keeps_average=ema > 0) if state is None else state
    body = functools.partial(
        train_step,
        reduce=lambda tree: tree,
        whole=lambda tree: tree,
        objective=OBJECTIVE,
        optimizer=OPTIMIZER,
        accumulate=accumulate,
        frozen=frozen,
        ema=ema,
        skip_norm=skip_norm,
    )
    for _ in range(steps):
        state, sums = jax.jit(body)(state, constants, batch)
    return state, sums


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_rest_trains_as_beside_constants(accumulate):
    """Second implementation: the frozen part is no parameter at all. Gradient norms too."""
    state, sums = run(PARAMS, {}, FROZEN, accumulate=accumulate)
    alone, expected = run(
        {"second": PARAMS["second"]}, {"first": PARAMS["first"]}, None, accumulate=accumulate
    )
    np.testing.assert_array_equal(state.params["first"]["kernel"], PARAMS["first"]["kernel"])
    np.testing.assert_allclose(state.params["second"]["kernel"], alone.params["second"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(sums["grad_norm"], expected["grad_norm"], rtol=1e-6)
    trained, _ = run(PARAMS, {}, None, accumulate=accumulate)  # the comparison can fail
    assert abs(trained.params["first"]["kernel"] - PARAMS["first"]["kernel"]).max() > 0.01


@pytest.mark.parametrize("accumulate", [2, 4])
def test_micro_batches_are_the_batch(accumulate):
    whole, expected = run(PARAMS, {}, None)
    parts, sums = run(PARAMS, {}, None, accumulate=accumulate)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        (parts.params, sums),
        (whole.params, expected),
    )


def test_moments_of_frozen_parameters_wait():
    """Trained, frozen, trained again: what moved before moves on with the moments it had."""
    before, _ = run(PARAMS, {}, None)
    still, _ = run(None, {}, FROZEN, state=before)
    for name in ("mu", "nu"):
        old, new = (getattr(s.opt_state[1][0], name) for s in (before, still))
        np.testing.assert_array_equal(old["first"]["kernel"], new["first"]["kernel"])
        assert abs(old["second"]["kernel"] - new["second"]["kernel"]).max() > 0
    assert int(still.opt_state[1][0].count) == 6  # the optimizer's clock goes on
    assert int(dataclasses.replace(still).step) == 6


@pytest.mark.parametrize("ema", [0.3, 0.9])
@pytest.mark.parametrize(("frozen", "accumulate"), [(None, 1), (None, 2), (FROZEN, 1)])
def test_the_average_of_the_parameters_is_numpys(ema, frozen, accumulate):
    """In float64, over twelve updates: the first have a lower decay, 2 / 11, 3 / 12, ... until it is `ema`."""
    state, expected = None, jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), PARAMS)
    decays = []
    for update in range(1, 13):
        state, _ = run(PARAMS, {}, frozen, steps=1, state=state, accumulate=accumulate, ema=ema)
        decays.append(min(ema, (1 + update) / (10 + update)))
        expected = jax.tree.map(
            lambda old, new: decays[-1] * old + (1 - decays[-1]) * np.asarray(new, np.float64),
            expected,
            jax.device_get(state.params),
        )
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), state.average, expected
        )
        assert state.model_params is state.average
    assert decays[0] == pytest.approx(2 / 11) and (decays[-1] == ema) == (ema == 0.3)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(state.average))
    if frozen:  # what stays is its own average, bit for bit
        np.testing.assert_array_equal(state.average["first"]["kernel"], PARAMS["first"]["kernel"])


def test_the_average_changes_nothing_that_is_trained():
    plain, sums = run(PARAMS, {}, None)
    averaged, expected = run(PARAMS, {}, None, ema=0.9)
    jax.tree.map(np.testing.assert_array_equal, (averaged.params, expected), (plain.params, sums))
    assert plain.average is None and plain.model_params is plain.params
    moved = averaged.average["second"]["kernel"] - averaged.params["second"]["kernel"]
    assert np.abs(moved).max() > 0.01


def bad(value):
    return BATCH | {"x_BD": np.where(np.arange(8).reshape(4, 2) == 5, np.float32(value), BATCH["x_BD"])}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    "batch",
    [bad(np.nan), bad(np.inf), BATCH | {"y_B": np.full(4, 1e4, np.float32)}],
    ids=["nan", "inf", "large"],
)
def test_a_step_left_out_changes_nothing_but_the_clocks(batch, accumulate):
    options = {"skip_norm": 1000.0, "ema": 0.5, "accumulate": accumulate}
    before, _ = run(PARAMS, {}, None, steps=2, **options)
    after, sums = run(None, {}, None, steps=1, state=before, batch=batch, **options)
    assert not sums["grad_norm"][0] <= 1000
    assert (int(after.step), int(after.opt_state[1][0].count), int(after.failed_step)) == (3, 3, -1)
    assert {name: tuple(map(float, pair)) for name, pair in after.window.items()} == {
        **{name: tuple(map(float, pair)) for name, pair in before.window.items()},
        "skipped": (1, 3),
    }
    for part in ("params", "average"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, part), getattr(before, part))
    for moment in ("mu", "nu"):
        old, new = (getattr(state.opt_state[1][0], moment) for state in (before, after))
        jax.tree.map(np.testing.assert_array_equal, new, old)


def test_with_nothing_to_leave_out_it_is_the_same_run():
    plain, _ = run(PARAMS, {}, None)
    found, _ = run(PARAMS, {}, None, skip_norm=1000.0)
    assert found.window.pop("skipped") == (0, 3)
    jax.tree.map(np.testing.assert_array_equal, found, plain)


def test_the_first_step_that_is_not_finite_is_noted():
    state, _ = run(PARAMS, {}, None)
    assert int(state.failed_step) == -1
    for _ in range(2):
        state, _ = run(None, {}, None, steps=1, state=state, batch=bad(np.nan))
        assert int(state.failed_step) == 3


def test_each_step_of_each_seed_has_dropout_of_its_own():
    def draw(params, constants, batch, dropout_key):
        return jax.random.uniform(dropout_key) * params["x"]

    objective = Objective(
        forward=draw,
        sums=lambda drawn, batch: {"drawn": (drawn, jnp.float32(1))},
        weights=lambda batch: {"drawn": jnp.float32(1)},
        terms={"drawn": 1.0},
    )

    def drawn(seed):
        state = states.create({"x": jnp.float32(1)}, optax.sgd(0.0), ("drawn", "grad_norm"), seed=seed)
        for _ in range(3):
            state, sums = train_step(
                state,
                {},
                {},
                reduce=lambda tree: tree,
                whole=lambda tree: tree,
                objective=objective,
                optimizer=optax.sgd(0.0),
                accumulate=1,
            )
            yield float(sums["drawn"][0])

    found = [*drawn(0), *drawn(1)]
    assert len(set(found)) == 6
    assert [*drawn(0), *drawn(1)] == found
