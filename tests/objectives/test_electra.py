"""Replaced-token detection's loss and shares against NumPy; its terms weighted as in the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.objectives import sums
from bert_jax.objectives.electra import replaced_token_detection, rtd_sums
from bert_jax.objectives.tokens import real_tokens

# Two rows of text, one of them padded, and one that only fills the batch up: it has no prediction.
BATCH = {
    "pack_ids_BL": np.array([[1, 1, 1, 2, 2], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
    "mlm_targets_BM": np.array([[3, 1], [2, 0], [0, 0]]),
    "mlm_weights_BM": np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]], np.float32),
}
COUNTED = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
REPLACED = np.array([[0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
LOGITS = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32) * 3


def test_tokens_that_count_are_all_but_padding_and_rows_that_fill_up():
    np.testing.assert_array_equal(real_tokens(BATCH), COUNTED)


def test_the_sums_are_numpys():
    found = {k: (float(s), float(w)) for k, (s, w) in rtd_sums(LOGITS, jnp.asarray(REPLACED), BATCH).items()}
    loss = hits = recalled = 0
    for row, column in np.argwhere(COUNTED):
        probability = 1 / (1 + np.exp(-np.float64(LOGITS[row, column])))
        is_replaced = REPLACED[row, column]
        loss -= np.log(probability if is_replaced else 1 - probability)
        hits += (probability > 0.5) == is_replaced
        recalled += is_replaced and probability > 0.5
    assert found["rtd_loss"] == (pytest.approx(loss, rel=1e-6), 8)
    assert found["rtd_accuracy"] == (hits, 8)
    assert found["rtd_recall"] == (recalled, 3)
    assert found["replaced"] == (3, 8)
    assert 0 < recalled < 3 and hits < 8  # the drawn logits are right in part


def test_its_gradient_is_the_probability_less_the_label():
    gradient = jax.grad(lambda x: rtd_sums(x, jnp.asarray(REPLACED), BATCH)["rtd_loss"][0])(LOGITS)
    np.testing.assert_allclose(gradient, (1 / (1 + np.exp(-LOGITS)) - REPLACED) * COUNTED, atol=1e-6)


def test_huge_logits_stay_finite():
    logits = jnp.where(jnp.asarray(REPLACED), -1e4, 1e4)
    assert float(rtd_sums(logits, jnp.asarray(REPLACED), BATCH)["rtd_loss"][0]) == 8e4


class FakeOutput:
    def __init__(self, params):
        self.mlm_logits_BMV = params * np.arange(24, dtype=np.float32).reshape(3, 2, 4)
        self.rtd_logits_BL = params * LOGITS
        self.replaced_BL = jnp.asarray(REPLACED)


def test_the_loss_is_mlm_plus_fifty_times_rtd():
    objective = replaced_token_detection(lambda params, batch, key: FakeOutput(params), weight=50.0)
    weights = objective.weights(BATCH)
    assert {name: float(weight) for name, weight in weights.items()} == {"mlm_loss": 3, "rtd_loss": 8}
    loss, found = objective.loss(jnp.float32(0.5), {}, BATCH, None, weights)
    means = sums.means(found)
    assert float(loss) == pytest.approx(means["mlm_loss"] + 50 * means["rtd_loss"], rel=1e-6)
    assert objective.report(means)["loss"] == pytest.approx(float(loss), rel=1e-6)


def test_z_loss_is_of_the_generators_logits():
    objective = replaced_token_detection(
        lambda params, batch, key: FakeOutput(params), weight=2.0, z_loss=0.5
    )
    loss, found = objective.loss(jnp.float32(0.5), {}, BATCH, None, objective.weights(BATCH))
    means = sums.means(found)
    logits_BMV = 0.5 * np.arange(24).reshape(3, 2, 4)
    squares_BM = np.log(np.exp(logits_BMV).sum(-1)) ** 2
    assert means["z_loss"] == pytest.approx((squares_BM * BATCH["mlm_weights_BM"]).sum() / 3, rel=1e-6)
    expected = means["mlm_loss"] + 0.5 * means["z_loss"] + 2 * means["rtd_loss"]
    assert float(loss) == pytest.approx(expected, rel=1e-6)
