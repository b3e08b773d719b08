"""Dense layers and LayerNorm against flax's, dropout and activations by themselves."""

import itertools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32

from bert_jax.models import layers

KEY = jax.random.key(3, impl="threefry2x32")


def keys(ids, sites=4):
    return layers.dropout_keys(KEY, jnp.asarray(ids, jnp.uint32), sites)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_zeroes_its_share_and_keeps_the_mean(rate):
    x = jnp.ones((64, 50, 33))  # an odd width: words that are half used
    y = layers.dropout(x, rate, keys(range(64))[:, 0])
    share, count = float((y == 0).mean()), x.size
    assert abs(share - rate) < 4 * math.sqrt(rate * (1 - rate) / count)
    kept = np.unique(np.asarray(y)[np.asarray(y) != 0])
    np.testing.assert_allclose(kept, [1 / (1 - rate)], rtol=2e-5)


def test_a_row_keeps_its_mask_whatever_batch_it_is_in():
    x = jax.random.normal(jax.random.key(0), (4, 6, 8))
    whole = layers.dropout(x, 0.3, keys([7, 8, 9, 10])[:, 1])
    alone = layers.dropout(x[2:3], 0.3, keys([9])[:, 1])
    np.testing.assert_array_equal(whole[2:3], alone)


def test_rows_sites_and_steps_have_masks_of_their_own():
    x = jnp.ones((2, 16, 16))
    all_keys = keys([0, 1])
    masks = [layers.dropout(x, 0.5, all_keys[:, site]) for site in range(4)]
    other_step = layers.dropout_keys(jax.random.fold_in(KEY, 1), jnp.arange(2, dtype=jnp.uint32), 4)
    masks.append(layers.dropout(x, 0.5, other_step[:, 0]))
    seen = [np.asarray(mask[row]) for mask in masks for row in range(2)]
    for i, a in enumerate(seen):
        for b in seen[:i]:
            assert 0.3 < (a == b).mean() < 0.7


def words(ids, shape, site=0):
    keys_B2 = jax.random.key_data(keys(ids)[:, site])
    return np.asarray(layers.random_words(keys_B2, (len(ids), *shape)))


def test_random_words_are_the_finalizer_of_threefrys_and_the_place():
    key_pairs = np.asarray(jax.random.key_data(keys([5, 6])[:, 1]))
    found = np.asarray(layers.random_words(jnp.asarray(key_pairs), (2, 3, 4)))
    for row in range(2):
        pairs = np.asarray(threefry_2x32(jnp.asarray(key_pairs[row]), jnp.arange(6, dtype=jnp.uint32)))
        for vector in range(3):
            first, second = int(pairs[vector]), int(pairs[3 + vector])
            for place in range(4):
                x = (first + place * 0x9E3779B9) % 2**32
                x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
                x = (x ^ (x >> 13) ^ second) * 0xC2B2AE35 % 2**32
                assert found[row, vector, place] == x


@pytest.mark.parametrize("shape", [(6, 32, 64), (32, 384)], ids=str)
def test_random_words_pass_for_independent_along_every_axis(shape):
    """Each statistic has the spread of independent words: none of hundreds is 5 standard deviations off."""
    x = words(range(64), shape)
    counts = np.bincount((x >> 20).ravel(), minlength=4096)
    expected = x.size / 4096
    assert abs(((counts - expected) ** 2 / expected).sum() - 4095) < 5 * math.sqrt(2 * 4095)
    for rate in (0.1, 0.5):
        kept = (x >= np.uint32(rate * 2**32)) - (1 - rate)
        deviations = [kept.mean() * math.sqrt(kept.size / (rate * (1 - rate)))]
        for axis, lag in itertools.product(range(kept.ndim), (1, 2, 3, 4, 5, 7, 8, 13, 16, 31, 55)):
            if lag < kept.shape[axis]:
                early = kept.take(range(kept.shape[axis] - lag), axis)
                both = early * kept.take(range(lag, kept.shape[axis]), axis)
                deviations.append(both.mean() * math.sqrt(both.size) / (rate * (1 - rate)))
        assert np.abs(deviations).max() < 5
        dropped = (x < np.uint32(rate * 2**32)).sum(-1)
        spread = dropped.var() / (x.shape[-1] * rate * (1 - rate)) - 1
        assert abs(spread) < 5 * math.sqrt(2 / dropped.size)


def test_the_gradient_of_dropout_has_the_mask_of_its_output_and_keeps_nothing_of_its_size():
    x = jax.random.normal(jax.random.key(0), (4, 6, 8))
    y, backward = jax.vjp(lambda x: layers.dropout(x, 0.3, keys(range(4))[:, 1]), x)
    [grad] = backward(jnp.ones_like(x))
    np.testing.assert_allclose(grad, y / x, rtol=1e-6)
    assert all(np.size(leaf) < x.size for leaf in jax.tree.leaves(backward))


def test_without_keys_or_rate_dropout_is_the_identity():
    x = jnp.ones((2, 3))
    assert layers.dropout(x, 0.5, None) is x
    assert layers.dropout(x, 0.0, keys([0, 1])[:, 0]) is x


def test_gelu_is_x_times_the_normal_distribution():
    x = np.linspace(-6, 6, 101)
    exact = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    np.testing.assert_allclose(layers.ACTIVATIONS["gelu"](jnp.asarray(x, jnp.float32)), exact, atol=2e-6)
    tanh = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(layers.ACTIVATIONS["gelu_tanh"](jnp.asarray(x, jnp.float32)), tanh, atol=2e-6)
    assert np.abs(exact - tanh).max() > 1e-4  # the two are not the same function


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("shape", "inputs", "use_bias"), [((12, 7), 1, True), ((12, 3, 5), 1, False), ((3, 4, 7), 2, True)]
)
def test_dense_has_the_output_and_gradients_of_flaxs(shape, inputs, use_bias, dtype):
    x = jax.random.normal(jax.random.key(0), (2, 6, *shape[:inputs]), dtype)
    flaxs = nn.DenseGeneral(
        shape[inputs:], axis=tuple(range(-inputs, 0)), use_bias=use_bias, dtype=dtype
    )  # fmt: skip
    params = flaxs.init(jax.random.key(1), x)["params"]
    assert params["kernel"].shape == shape
    assert_same_function(
        lambda params, x: layers.dense(params, x, inputs=inputs),
        lambda params, x: flaxs.apply({"params": params}, x),
        perturbed(params),
        x,
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@jax.numpy_dtype_promotion("standard")  # flax's own promotes bfloat16 implicitly
def test_layer_norm_has_the_output_and_gradients_of_flaxs(dtype):
    x = 3 + jax.random.normal(jax.random.key(0), (2, 6, 12), dtype)
    flaxs = nn.LayerNorm(epsilon=1e-3, dtype=dtype, use_fast_variance=False)
    params = flaxs.init(jax.random.key(1), x)["params"]
    assert_same_function(
        lambda params, x: layers.layer_norm(params, x, eps=1e-3),
        lambda params, x: flaxs.apply({"params": params}, x),
        perturbed(params),
        x,
    )


def perturbed(params):
    return jax.tree.map(lambda leaf: leaf + jnp.linspace(0.1, 1, leaf.size).reshape(leaf.shape), params)


def assert_same_function(ours, theirs, params, x):
    """Bit for bit, with the gradients of a sum of squares."""

    def run(function):
        y = function(params, x)
        grad = jax.grad(lambda params, x: jnp.sum(function(params, x) ** 2), argnums=(0, 1))
        return y, grad(params, x)

    found, expected = run(ours), run(theirs)
    assert found[0].dtype == x.dtype
    assert_equal(found, expected)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
