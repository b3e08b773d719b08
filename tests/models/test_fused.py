"""The kernels of attention, run by Pallas's interpreter: equal to attention by matmuls, gradients and dropout included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models import fused, fused_gpu, fused_tpu, layers
from bert_jax.models.attention import attend, attention_mask

KERNELS = {"pallas": fused_tpu, "triton": fused_gpu}


@pytest.fixture
def interpreted(monkeypatch):
    """The kernels without their devices; counts their uses."""
    made = []

    def of(backend, kernel):
        def make(**options):
            made.append({"backend": backend, **options})
            return kernel(**options, interpret=True)

        return make

    for backend, module in KERNELS.items():
        monkeypatch.setattr(module, "Kernel", of(backend, module.Kernel))
    return made


def drawn(seed, shape, dtype):
    return jax.random.normal(jax.random.key(seed), shape).astype(dtype)


def two_rows(length):
    """Pack ids [2, length]: one example and padding; three examples and padding."""
    ids = np.zeros((2, length), np.int32)
    ids[0, : length - 56] = 1
    ids[1, :100], ids[1, 100:180], ids[1, 180 : length - 6] = 1, 2, 3
    return jnp.asarray(ids)


@pytest.mark.parametrize("backend", KERNELS)
@pytest.mark.parametrize("rate", [0.0, 0.1])
@pytest.mark.parametrize(
    ("heads", "head_dim", "dtype"), [(4, 32, "float32"), (4, 64, "bfloat16"), (1, 128, "float32")]
)
def test_output_and_gradients_are_those_of_plain_attention(
    heads, head_dim, dtype, rate, backend, interpreted
):
    shape = (2, 256, heads, head_dim)
    q, k, v, grad = (drawn(seed, shape, dtype) for seed in range(4))
    q *= head_dim**-0.5
    pack_ids = two_rows(256)
    key = jax.random.key(5, impl="threefry2x32")
    keys_B = layers.dropout_keys(key, jnp.arange(2, dtype=jnp.uint32), 1)[:, 0]

    def kernel(q, k, v):
        return fused.fused_attention(backend, q, k, v, pack_ids_BL=pack_ids, rate=rate, keys_B=keys_B)

    def plain(q, k, v):
        allowed = attention_mask(pack_ids, packed=True).allowed_B1LT
        scores = jnp.einsum("BLHK,BTHK->BHLT", q, k)
        return attend(scores, v, allowed_B1LT=allowed, rate=rate, keys_B=keys_B)[0]

    (y, backward), (expected_y, expected_backward) = jax.vjp(kernel, q, k, v), jax.vjp(plain, q, k, v)
    tolerance = {"atol": 5e-6, "rtol": 1e-5} if dtype == "float32" else {"atol": 0.06, "rtol": 0.03}
    pairs = zip((y, *backward(grad)), (expected_y, *expected_backward(grad)), strict=True)
    for found, expected in pairs:  # at padding too, which attends to all that is none
        assert found.dtype == dtype
        np.testing.assert_allclose(found.astype(jnp.float32), expected.astype(jnp.float32), **tolerance)
    assert interpreted == [{"backend": backend, "rate": rate, "head_dim": head_dim}]


def test_rows_that_do_not_fit_are_left_to_xla():
    assert fused.fits("pallas", 512, width=768)
    assert fused.fits("pallas", 1024, width=1024)
    assert not fused.fits("pallas", 500, width=768)
    assert not fused.fits("pallas", 2048, width=1024)
    assert fused.fits("triton", 2112, width=1024)
    assert not fused.fits("triton", 500, width=768)
