"""Attention masks drawn by hand, and what attention makes of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models.attention import attend, attention_mask
from bert_jax.models.layers import dropout, dropout_keys


def test_the_mask_of_a_packed_row_drawn_by_hand():
    mask = attention_mask(jnp.array([[1, 1, 2, 2, 2, 0]]), packed=True)
    drawing = """
        xx....
        xx....
        ..xxx.
        ..xxx.
        ..xxx.
        xxxxx.
    """  # the last row is padding: its output is never used
    expected = [[mark == "x" for mark in line.strip()] for line in drawing.strip().split("\n")]
    np.testing.assert_array_equal(mask.allowed_B1LT[0, 0], expected)
    assert mask.lengths_B is None


def test_the_mask_of_an_unpacked_row_is_one_line():
    mask = attention_mask(jnp.array([[1, 1, 1, 0], [1, 0, 0, 0]]), packed=False)
    np.testing.assert_array_equal(
        mask.allowed_B1LT[:, 0, 0], [[True, True, True, False], [True, False, False, False]]
    )
    np.testing.assert_array_equal(mask.lengths_B, [3, 1])


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_attend_averages_the_values_of_allowed_keys_and_returns_probabilities_before_dropout(rate):
    rng = np.random.default_rng(0)
    scores, values = rng.normal(size=(1, 2, 6, 6)), rng.normal(size=(1, 6, 2, 3))
    mask = attention_mask(jnp.array([[1, 1, 2, 2, 2, 0]]), packed=True)
    keys_B = dropout_keys(jax.random.key(0), jnp.zeros(1, jnp.uint32), 1)[:, 0]
    y, att = attend(
        jnp.asarray(scores, jnp.float32),
        jnp.asarray(values, jnp.float32),
        allowed_B1LT=mask.allowed_B1LT,
        rate=rate,
        keys_B=keys_B,
    )
    exps = np.where(mask.allowed_B1LT, np.exp(scores), 0)
    expected = exps / exps.sum(-1, keepdims=True)
    np.testing.assert_allclose(att, expected, atol=1e-6)
    dropped = dropout(att, rate, keys_B)
    assert (np.abs(dropped - att).max() > 0.1) == (rate > 0)
    np.testing.assert_allclose(y, np.einsum("BHLT,BTHK->BLHK", dropped, values), atol=1e-5)
