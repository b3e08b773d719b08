"""Properties of BERT itself; those of every variant are in test_variants."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax.benchmarks.synthetic import synthetic
from bert_jax.models.bert import BertWithHeads, init_params

CONFIG = configs.resolve(
    {
        "tokenizer": {"vocab_size": 50},
        "data": {"sequence_length": 20},
        "model": {
            "preset": "bert-tiny",
            "hidden_size": 32,
            "num_heads": 4,
            "mlp_size": 48,
            "max_positions": 20,
        },
    }
)
PARAMS = init_params(CONFIG.model, jax.random.key(0))
BATCH = synthetic(CONFIG, 3)
KEY = jax.random.key(1)


def forward(batch=BATCH, *, params=PARAMS, dropout_key=None, **fields):
    model = BertWithHeads(dataclasses.replace(CONFIG.model, **fields))
    return model.apply({"params": params}, batch, dropout_key=dropout_key)


def assert_close(a, b, atol=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


def test_dropout_changes_the_output_and_its_key_decides_how():
    plain, dropped = forward(), forward(dropout_key=KEY)
    assert np.abs(plain.hidden_BLD - dropped.hidden_BLD).max() > 0.1
    assert_close(dropped, forward(dropout_key=KEY), atol=0)


def test_no_gradient_reaches_padding():
    batch = {name: value.copy() for name, value in BATCH.items()}
    batch["pack_ids_BL"][:, 12:] = 0
    batch["tokens_BL"][:, 12:] = 49
    batch["tokens_BL"][:, :12] %= 49

    def pooled(params):
        return forward(batch, params=params).pooled_BPD.sum()

    embeddings = jax.jit(jax.grad(pooled))(PARAMS)["bert"]["embeddings"]
    np.testing.assert_array_equal(embeddings["token"][49], 0)
    np.testing.assert_array_equal(embeddings["position"][12:], 0)
    assert np.abs(embeddings["position"][:12]).min() > 0


def test_the_head_at_gathered_slots_is_the_head_everywhere():
    everywhere = forward(BATCH | {"mlm_positions_BM": np.tile(np.arange(20), (3, 1))}).mlm_logits_BMV
    slots = BATCH["mlm_positions_BM"]
    assert_close(
        forward().mlm_logits_BMV, np.take_along_axis(np.asarray(everywhere), slots[..., None], axis=1)
    )


@pytest.mark.parametrize("packed", [False, True])
def test_the_fused_attention_is_given_the_same_problem(packed, monkeypatch):
    """cuDNN needs a GPU: here jax's plain implementation computes what cuDNN's would be called with."""
    dot_product_attention, called = jax.nn.dot_product_attention, []

    def plain(*args, implementation, **options):
        called.append(implementation)
        return dot_product_attention(*args, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", plain)
    batch = {name: value.copy() for name, value in BATCH.items()}
    batch["pack_ids_BL"][:, 15:] = 0
    if packed:
        batch["pack_ids_BL"][:, 9:15] = 2
        batch["first_BP"] = np.tile(np.array([[0, 9]], np.int32), (3, 1))
    found, expected = forward(batch, attention_backend="cudnn"), forward(batch)
    assert set(called) == {"cudnn"}
    assert_close(found.hidden_BLD[:, :15], expected.hidden_BLD[:, :15])
    assert_close(found.pair_logits_BPC, expected.pair_logits_BPC)


def test_truncated_normal_of_the_published_width():
    kernel = PARAMS["bert"]["embeddings"]["token"]
    assert float(jnp.abs(kernel).max()) <= 0.04 + 1e-6
    assert float(kernel.std()) == pytest.approx(0.02 * 0.88, rel=0.1)  # cut at two standard deviations
