"""Positions without a table: rotary against complex numbers, ALiBi and sinusoids against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models.alibi import biases, slopes
from bert_jax.models.attention import attention_mask, self_attention
from bert_jax.models.embeddings import sinusoids
from bert_jax.models.rotary import rotate, rotation
from tests.configs import model
from tests.models.variants import random_params, shapes_below

B, L, H, K = 2, 7, 3, 8


def draw(seed):
    return jax.random.normal(jax.random.key(seed), (B, L, H, K))


@pytest.mark.parametrize("pairs", ["halves", "neighbours"])
def test_pairs_turn_as_complex_numbers(pairs):
    x, positions = np.asarray(draw(0)), np.array([[0, 1, 2, 3, 0, 1, 2], [5, 4, 3, 2, 1, 0, 9]])
    angles = positions[..., None] * 100.0 ** (-np.arange(0, K, 2) / K)
    first, second = (x[..., : K // 2], x[..., K // 2 :]) if pairs == "halves" else (x[..., ::2], x[..., 1::2])
    turned = (first + 1j * second) * np.exp(1j * angles)[:, :, None]
    parts = [turned.real, turned.imag]
    expected = np.concatenate(parts, -1) if pairs == "halves" else np.stack(parts, -1).reshape(x.shape)
    turn = rotation(jnp.asarray(positions), base=100.0, head_dim=K)
    np.testing.assert_allclose(rotate(jnp.asarray(x), turn, pairs=pairs), expected, atol=1e-6)


@pytest.mark.parametrize("pairs", ["halves", "neighbours"])
def test_products_depend_on_the_distance_alone(pairs):
    q, k = draw(0), draw(1)
    positions = jnp.broadcast_to(jnp.arange(L), (B, L))

    def scores(shift):
        turn = rotation(positions + shift, base=10_000.0, head_dim=K)
        turned = (rotate(x, turn, pairs=pairs) for x in (q, k))
        return jnp.einsum("BLHK,BTHK->BHLT", *turned)

    np.testing.assert_allclose(scores(0), scores(11), atol=1e-5)
    assert np.abs(scores(0) - jnp.einsum("BLHK,BTHK->BHLT", q, k)).max() > 0.1


def test_angles_are_float32_in_bfloat16_too():
    turn = rotation(jnp.full((1, 1), 8191), base=160_000.0, head_dim=K)
    x = jnp.ones((1, 1, 1, K), jnp.bfloat16)
    y = rotate(x, turn, pairs="halves")
    assert y.dtype == jnp.bfloat16
    expected = np.cos(8191.0) - np.sin(8191.0)
    assert abs(float(y[0, 0, 0, 0]) - expected) < 2**-7


def test_alibis_slopes_and_biases():
    """Of 8 heads as in section 3 of the paper, of 12 as in the released code."""
    assert slopes(8) == tuple(2.0**-n for n in range(1, 9))
    assert slopes(12)[8:] == tuple(2.0 ** -(n / 2) for n in (1, 3, 5, 7))
    found = np.asarray(biases(5, heads=8))
    assert found.shape == (1, 8, 5, 5)
    np.testing.assert_array_equal(found[0, 1], -0.25 * np.abs(np.arange(5)[:, None] - np.arange(5)))


def test_alibis_biases_are_added_to_the_scaled_scores():
    config = model(hidden_size=24, num_heads=3, positions="alibi", attention_dropout_rate=0.0)
    params = random_params(shapes_below("bert/encoder/layer_{i}/attention", config))
    x, mask = draw(0).reshape(B, L, 24), attention_mask(jnp.ones((B, L), int), packed=False)
    items = frozenset({"queries", "keys", "scores"})
    _, found = self_attention(params, x, config=config, mask=mask, keys_B=None, record=items)
    products = np.einsum("BLHK,BTHK->BHLT", found.queries_BLHK, found.keys_BTHK) / K**0.5
    distance = np.abs(np.arange(L)[:, None] - np.arange(L))
    expected = products - np.array(slopes(3))[:, None, None] * distance
    np.testing.assert_allclose(found.scores_BHLT, expected, atol=1e-5)


def test_sinusoids_are_sines_and_cosines_in_turn():
    found = np.asarray(sinusoids(jnp.array([[0, 1, 5]]), width=6))[0]
    for row, position in zip(found, (0, 1, 5), strict=True):
        angles = [position / 10_000 ** (2 * i / 6) for i in range(3)]
        expected = [f(angle) for angle in angles for f in (np.sin, np.cos)]
        np.testing.assert_allclose(row, expected, atol=1e-6)
