"""The loss of spans against NumPy, window by window, and without NaN where there is no window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.objectives.span import span_objective, span_sums

LENGTH = 12
# The tokens of each window of each row, and where its answer begins and ends; the third slot of row 1 is empty.
ROWS = [[(5, 1, 3), (3, 0, 0), (4, 2, 2)], [(7, 6, 6), (4, 1, 2)]]


def batch_of(rows=ROWS, slots=3):
    shape = (len(rows), slots)
    batch = {name: np.zeros(shape, np.int32) for name in ("first_BP", "starts_BP", "ends_BP")}
    batch |= {"weights_BP": np.zeros(shape, np.float32), "features_BP": np.full(shape, -1, np.int32)}
    batch["pack_ids_BL"] = np.zeros((len(rows), LENGTH), np.int32)
    for row, windows in enumerate(rows):
        first = 0
        for slot, (size, start, end) in enumerate(windows):
            batch["pack_ids_BL"][row, first : first + size] = slot + 1
            batch["first_BP"][row, slot] = first
            batch["starts_BP"][row, slot], batch["ends_BP"][row, slot] = first + start, first + end
            batch["weights_BP"][row, slot] = 1
            first += size
    return batch


def draw(rows=len(ROWS), seed=0):
    return np.random.default_rng(seed).normal(size=(rows, LENGTH, 2)).astype(np.float32) * 3


def by_hand(logits):
    """(sum of start losses, sum of end losses, hits of each)."""
    found = np.zeros(4)
    for row, windows in enumerate(ROWS):
        first = 0
        for size, *answer in windows:
            for place, target in enumerate(answer):
                own = logits[row, first : first + size, place].astype(np.float64)
                found[place] += np.log(np.exp(own).sum()) - own[target]
                found[place + 2] += own.argmax() == target
            first += size
    return found


def test_each_window_is_a_softmax_over_its_own_tokens():
    logits = draw()
    sums = span_sums(jnp.asarray(logits), batch_of())
    names = ("start_loss", "end_loss", "start_accuracy", "end_accuracy")
    np.testing.assert_allclose([float(sums[name][0]) for name in names], by_hand(logits), rtol=1e-6)
    assert {float(weight) for _, weight in sums.values()} == {5.0}


def objective():
    class Output:
        def __init__(self, logits):
            self.token_logits_BLC = logits

    return span_objective(lambda variables, batch, dropout_key: Output(variables["params"]))


def loss(logits, batch):
    found = objective()
    return found.loss(logits, {}, batch, None, found.weights(batch))[0]


def test_the_loss_is_the_mean_of_both_and_its_gradient_is_softmax_minus_one_hot():
    logits = draw()
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(logits), batch_of())
    assert float(value) == pytest.approx(by_hand(logits)[:2].sum() / 2 / 5, rel=1e-6)
    expected = np.zeros_like(logits)
    for row, windows in enumerate(ROWS):
        first = 0
        for size, *answer in windows:
            for place, target in enumerate(answer):
                own = np.exp(logits[row, first : first + size, place])
                expected[row, first : first + size, place] = own / own.sum()
                expected[row, first + target, place] -= 1
            first += size
    np.testing.assert_allclose(gradient, expected / 10, atol=1e-6)


def test_rows_of_many_windows_have_the_loss_of_windows_alone():
    logits = draw()
    flat = [(row, window) for row, windows in enumerate(ROWS) for window in windows]
    alone = np.full((len(flat), LENGTH, 2), 7, np.float32)
    first = 0
    for number, (row, (size, _, _)) in enumerate(flat):
        first = 0 if number and flat[number - 1][0] != row else first
        alone[number, :size] = logits[row, first : first + size]
        first += size
    batch = batch_of([[window] for _, window in flat], slots=1)
    assert float(loss(jnp.asarray(alone), batch)) == pytest.approx(
        float(loss(jnp.asarray(logits), batch_of())), rel=1e-6
    )


@pytest.mark.parametrize("size", [1e4, 3e8])
def test_huge_logits_and_rows_without_a_window_stay_finite(size):
    batch = batch_of([*ROWS, []])
    logits = jnp.asarray(np.sign(draw(3)) * size, jnp.float32)
    value, gradient = jax.value_and_grad(loss)(logits, batch)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    assert not gradient[2].any()


def test_half_precision_is_computed_in_float32():
    logits = draw().astype(jnp.bfloat16)
    sums = span_sums(jnp.asarray(logits), batch_of())
    np.testing.assert_allclose(float(sums["start_loss"][0]), by_hand(logits.astype(np.float32))[0], rtol=1e-6)
    assert sums["start_loss"][0].dtype == jnp.float32


def test_predictions_say_where_each_window_lies():
    logits, batch = jnp.asarray(draw()), batch_of()
    found = objective()
    output = found.forward(logits, {}, batch, None)
    predictions = found.predictions(output, batch)
    assert set(predictions) == {"token_logits_BLC", "first_BP", "features_BP"}
    assert predictions["token_logits_BLC"] is logits
