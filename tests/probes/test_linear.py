"""The linear classifier: finds what is there, nothing where nothing is."""

import numpy as np
import pytest

from bert_jax.probes.linear import STRENGTHS, classify


def drawn(*, rows=400, width=16, signal=0.0, seed=0):
    """Features of which one carries `signal` times the label's sign, beside noise: (x, y) twice."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 2 * rows)
    features = rng.normal(size=(2 * rows, width)).astype(np.float32)
    features[:, 3] += signal * (2 * labels - 1)
    return features[:rows], labels[:rows], features[rows:], labels[rows:]


def test_separable_classes_are_told_apart():
    found = classify(*drawn(signal=6.0))
    assert found.correct_R.all()
    assert found.training_accuracy == 1.0


def test_features_that_know_nothing_of_the_label_give_chance():
    x, y, held, held_y = drawn(rows=2000)
    found = classify(x, y, held, held_y)
    assert abs(found.correct_R.mean() - 0.5) < 3 * 0.5 / np.sqrt(2000)
    assert found.strength == min(STRENGTHS)
    assert found.training_accuracy < 0.57  # 16 random features, strongest penalty


def test_a_normal_shift_gives_the_best_rule_s_accuracy():
    """Two unit normals, their means 2 apart: the best rule is right Phi(1) = 84.1 % of the time."""
    found = classify(*drawn(rows=4000, signal=1.0))
    assert found.correct_R.mean() == pytest.approx(0.8413, abs=3 * np.sqrt(0.84 * 0.16 / 4000))


def test_the_scale_and_place_of_features_do_not_matter():
    x, y, held, held_y = drawn(signal=0.5)
    scale = np.logspace(-4, 4, x.shape[1])
    plain = classify(x, y, held, held_y)
    scaled = classify(x * scale + 7, y, held * scale + 7, held_y)
    np.testing.assert_array_equal(plain.correct_R, scaled.correct_R)
    assert plain.strength == scaled.strength
    assert plain.training_accuracy == scaled.training_accuracy


def test_a_constant_feature_changes_nothing():
    x, y, held, held_y = drawn(signal=0.5)
    more = [np.concatenate([part, np.full((len(part), 1), 3.0)], axis=1) for part in (x, held)]
    np.testing.assert_array_equal(
        classify(x, y, held, held_y).correct_R, classify(more[0], y, more[1], held_y).correct_R
    )


def test_it_is_the_minimum_of_the_penalised_loss():
    """A plain gradient of  |w|^2 / 2 + C sum log(1 + exp(-s (w.x + b)))  vanishes at the answer."""
    from bert_jax.probes.linear import _model

    x, y, _, _ = drawn(signal=0.5)
    model = _model(0.01).fit(x.astype(np.float64), y)
    sign = 2 * y - 1
    slack = -sign / (1 + np.exp(sign * (x @ model.coef_[0] + model.intercept_[0])))
    gradient = model.coef_[0] + 0.01 * slack @ x
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    assert 0.01 * slack.sum() == pytest.approx(0, abs=1e-5)


def test_a_class_too_rare_for_the_folds_is_refused():
    x, _, held, held_y = drawn()
    with pytest.raises(ValueError, match="2 rows of a class must be >= 3"):
        classify(x, np.arange(len(x)) < 2, held, held_y)
