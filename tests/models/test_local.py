"""Attention to near tokens: in blocks = over the whole row under a mask, and who sees whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models.attention import Internals, attention_mask, self_attention
from bert_jax.models.local import blocked_attention, near, saves
from tests.configs import model
from tests.models.variants import random_params, shapes_below

CONFIG = model(
    hidden_size=24, num_heads=3, mlp_size=8, positions="rotary", pattern=("local",), window=3,
    attention_dropout_rate=0.0,
)  # fmt: skip
PARAMS = random_params(shapes_below("bert/encoder/layer_{i}/attention", CONFIG))


def draw(shape, seed):
    return jax.random.normal(jax.random.key(seed), shape)


def packed_ids(length, cuts, pad):
    """Examples that end at `cuts`, then `pad` places of padding."""
    ids = np.zeros(length, int)
    for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, length - pad], strict=True), 1):
        ids[start:stop] = number
    return ids


@pytest.mark.parametrize("length", [10, 12, 13, 29])  # more than three windows; whole blocks and not
@pytest.mark.parametrize("window", [1, 3])
def test_in_blocks_and_under_a_mask_are_the_same(length, window):
    q, k, v = (draw((2, length, 3, 8), seed) for seed in range(3))
    ids = jnp.array([packed_ids(length, [4, 5], 2), packed_ids(length, [], 0)])
    mask = attention_mask(ids, packed=True)

    def blocks(q, k, v):
        return blocked_attention(q, k, v, pack_ids_BL=ids, window=window, rate=0.0, keys_B=None)

    def masked(q, k, v):
        scores = jnp.einsum("BLHK,BTHK->BHLT", q, k)
        allowed = mask.within(window)
        att = jax.nn.softmax(jnp.where(allowed, scores, -1e30), axis=-1)
        return jnp.einsum("BHLT,BTHK->BLHK", att, v)

    real = (ids > 0)[..., None, None]

    def outputs_and_gradients(attend):
        def squares(q, k, v):
            y = jnp.where(real, attend(q, k, v), 0)
            return (y**2).sum(), y

        grads, y = jax.jit(jax.grad(squares, argnums=(0, 1, 2), has_aux=True))(q, k, v)
        return y, grads

    (y, grads), (expected_y, expected_grads) = map(outputs_and_gradients, (blocks, masked))
    np.testing.assert_allclose(y, expected_y, atol=1e-6)
    for ours, theirs in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)
        assert np.isfinite(ours).all()


@pytest.mark.parametrize("length", [40, 6])  # in blocks, and too short for them
def test_a_query_sees_the_keys_up_to_its_window_and_no_further(length):
    """Key by key: |q - k| = 3 moves the output, 4 does not."""
    mask = attention_mask(jnp.ones((1, length), int), packed=False)
    query = length // 2
    assert saves(length, window=3) == (length == 40)

    def output(x):
        y, _ = self_attention(PARAMS, x, config=CONFIG, mask=mask, keys_B=None, is_local=True, turn=None)
        return y[0, query]

    moved = np.abs(jax.jacobian(output)(draw((1, length, 24), 0))).sum((0, 1, 3))
    for key in range(length):
        assert (moved[key] > 0) == (abs(key - query) <= 3), key


def test_scores_that_are_recorded_are_those_of_the_row():
    x, mask = draw((1, 20, 24), 0), attention_mask(jnp.ones((1, 20), int), packed=False)
    arguments = {"config": CONFIG, "mask": mask, "keys_B": None, "is_local": True}
    plain, nothing = self_attention(PARAMS, x, **arguments)
    recorded, found = self_attention(PARAMS, x, **arguments, record=frozenset({"probabilities"}))
    np.testing.assert_allclose(plain, recorded, atol=1e-6)
    assert nothing == Internals()
    att = np.asarray(found.probabilities_BHLT)
    np.testing.assert_allclose(att.sum(-1), 1, atol=1e-6)
    assert ((att > 0) == np.broadcast_to(near(20, window=3), att.shape)).all()


def test_dropout_in_blocks_keeps_the_mean_and_depends_on_the_row_alone():
    from bert_jax.models.layers import dropout_keys

    q = jnp.zeros((2, 30, 3, 8))
    v, ids = jnp.ones((2, 30, 3, 8)), jnp.ones((2, 30), int)
    keys = dropout_keys(jax.random.key(0), jnp.arange(2, dtype=jnp.uint32), 1)[:, 0]

    def run(q, v, ids, keys):
        return blocked_attention(q, q, v, pack_ids_BL=ids, window=5, rate=0.5, keys_B=keys)

    both = run(q, v, ids, keys)
    assert abs(both.mean() - 1) < 0.1 and np.ptp(both) > 0.5
    np.testing.assert_array_equal(both[1:], run(q[1:], v[1:], ids[1:], keys[1:]))
