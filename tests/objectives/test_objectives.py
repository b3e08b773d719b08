"""Losses and metrics against NumPy, and the algebra that makes them add up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.objectives import sums
from bert_jax.objectives.pretraining import pretraining


def draw(seed=0, rows=6, classes=5):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 3, classes)).astype(np.float32) * 4
    targets = rng.integers(0, classes, (rows, 3))
    weights = rng.integers(0, 2, (rows, 3)).astype(np.float32)
    return logits, targets, weights


def test_cross_entropy_and_accuracy_are_numpys():
    logits, targets, weights = draw()
    found = sums.classification("x", jnp.asarray(logits), jnp.asarray(targets), jnp.asarray(weights))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    chosen = np.take_along_axis(probabilities, targets[..., None], -1)[..., 0]
    assert float(found["x_loss"][0]) == pytest.approx((-np.log(chosen) * weights).sum(), rel=1e-5)
    assert float(found["x_accuracy"][0]) == ((logits.argmax(-1) == targets) * weights).sum()
    assert float(found["x_loss"][1]) == weights.sum()


def test_its_gradient_is_softmax_minus_one_hot():
    logits, targets, weights = draw()
    gradient = jax.grad(lambda x: sums.classification("x", x, targets, weights)["x_loss"][0])(logits)
    softmax = jax.nn.softmax(logits) - jax.nn.one_hot(targets, 5)
    np.testing.assert_allclose(gradient, softmax * weights[..., None], atol=1e-6)


def numpy_z_loss(logits, weights):
    """In float64: the sum over X of weight x log(sum of exp(logits))^2."""
    return (np.log(np.exp(logits.astype(np.float64)).sum(-1)) ** 2 * weights).sum()


def test_z_loss_is_numpys_and_its_gradient_a_finite_difference():
    logits, _, weights = draw()
    (value, weight), gradient = jax.value_and_grad(lambda x: sums.z_loss(x, weights)["z_loss"], has_aux=True)(
        jnp.asarray(logits)
    )
    assert float(value) == pytest.approx(numpy_z_loss(logits, weights), rel=1e-6)
    assert float(weight) == weights.sum()
    expected, step = np.zeros(logits.shape), 1e-4
    for place in np.ndindex(logits.shape):
        moved = np.zeros(logits.shape)
        moved[place] = step
        above, below = (numpy_z_loss(logits + sign * moved, weights) for sign in (1, -1))
        expected[place] = (above - below) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)
    assert np.all(gradient[weights == 0] == 0) and np.any(weights == 0)


def test_huge_logits_stay_finite():
    z = sums.z_loss(jnp.array([[1e4, -1e4]]), jnp.ones(1))["z_loss"][0]
    assert float(z) == 1e8
    found = sums.classification("x", jnp.array([[1e4, -1e4]]), jnp.array([1]), jnp.ones(1))
    assert float(found["x_loss"][0]) == 2e4


def test_parts_add_up_to_the_whole():
    logits, targets, weights = draw()
    whole = sums.classification("x", logits, targets, weights)
    parts = [sums.classification("x", logits[i], targets[i], weights[i]) for i in range(6)]
    total = parts[0]
    for part in parts[1:]:
        total = sums.add(total, part)
    np.testing.assert_allclose(jax.tree.leaves(total), jax.tree.leaves(whole), rtol=1e-5)


def test_means_leave_out_what_has_no_weight():
    assert sums.means({"a": (6.0, 3.0), "b": (0.0, 0.0)}) == {"a": 2.0}


def test_no_weight_means_no_loss_and_no_gradient():
    value, gradient = jax.value_and_grad(lambda x: sums.divide(x, jnp.float32(0)))(jnp.float32(3))
    assert (value, gradient) == (0, 0)


class FakeOutput:
    def __init__(self, params):
        logits = params * np.arange(8, dtype=np.float32).reshape(1, 2, 4)
        self.mlm_logits_BMV, self.pair_logits_BPC = logits, logits[:, :1, :2]


FAKE_BATCH = {
    "mlm_targets_BM": np.array([[1, 2]]),
    "mlm_weights_BM": np.array([[1.0, 1.0]]),
    "pair_labels_BP": np.array([[1]]),
    "pair_weights_BP": np.array([[1.0]]),
}


def apply(variables, batch, dropout_key):
    return FakeOutput(variables["params"])


@pytest.mark.parametrize(("objective", "terms"), [("none", 1), ("nsp", 2), ("sop", 2)])
def test_the_loss_is_the_sum_of_its_terms_means(objective, terms):
    built = pretraining(apply, with_pairs=objective != "none")
    loss, found = built.loss(jnp.float32(0.5), {}, FAKE_BATCH, None, built.weights(FAKE_BATCH))
    reported = built.report(sums.means(found))
    assert len(built.terms) == terms
    assert reported["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert ("pair_loss" in reported) == (terms == 2)


@pytest.mark.parametrize("with_pairs", [False, True])
def test_z_loss_adds_its_share_under_its_own_name(with_pairs):
    """Nothing else changes, and without it there is no such metric."""
    plain = pretraining(apply, with_pairs=with_pairs)
    built = pretraining(apply, with_pairs=with_pairs, z_loss=0.25)
    weights = built.weights(FAKE_BATCH)
    assert float(weights["z_loss"]) == 2
    loss, found = built.loss(jnp.float32(0.5), {}, FAKE_BATCH, None, weights)
    without, expected = plain.loss(jnp.float32(0.5), {}, FAKE_BATCH, None, plain.weights(FAKE_BATCH))
    logits = 0.5 * np.arange(8).reshape(2, 4)
    mean = numpy_z_loss(logits, np.ones(2)) / 2
    assert float(loss) == pytest.approx(float(without) + 0.25 * mean, rel=1e-6)
    reported = built.report(sums.means(found))
    assert reported["z_loss"] == pytest.approx(mean, rel=1e-6)
    assert reported["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert found.keys() - expected.keys() == {"z_loss"} and expected.items() <= found.items()


def test_the_weights_may_be_those_of_a_larger_batch():
    """As one device of four sees it: its share of the loss is a quarter."""
    built = pretraining(apply, with_pairs=True)
    weights = built.weights(FAKE_BATCH)
    whole, _ = built.loss(jnp.float32(0.5), {}, FAKE_BATCH, None, weights)
    share, _ = built.loss(jnp.float32(0.5), {}, FAKE_BATCH, None, jax.tree.map(lambda w: 4 * w, weights))
    assert float(share) == pytest.approx(float(whole) / 4, rel=1e-6)
