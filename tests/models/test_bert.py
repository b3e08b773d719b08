"""Properties of the whole model that hold whatever its weights are."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax import batch as contract
from bert_jax import config as configs
from bert_jax.models.bert import BertForPretraining, init_params

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
BATCH = contract.synthetic(CONFIG, 3)
KEY = jax.random.key(1)


def forward(batch=BATCH, *, params=PARAMS, dropout_key=None, **fields):
    model = BertForPretraining(dataclasses.replace(CONFIG.model, **fields))
    return model.apply({"params": params}, batch, dropout_key=dropout_key)


def assert_close(a, b, atol=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


@pytest.mark.parametrize("dropout_key", [None, KEY], ids=["deterministic", "dropout"])
@pytest.mark.parametrize(
    "fields", [{"layers": "scan"}, {"remat": True}, {"layers": "scan", "remat": True}], ids=str
)
def test_scan_and_remat_compute_what_the_loop_does(fields, dropout_key):
    assert_close(forward(**fields, dropout_key=dropout_key), forward(dropout_key=dropout_key), atol=1e-5)


def test_dropout_changes_the_output_and_its_key_decides_how():
    plain, dropped = forward(), forward(dropout_key=KEY)
    assert np.abs(plain.hidden_BLD - dropped.hidden_BLD).max() > 0.1
    assert_close(dropped, forward(dropout_key=KEY), atol=0)


def test_padding_changes_no_real_token():
    short = {name: value.copy() for name, value in BATCH.items()}
    short["pack_ids_BL"][:, 12:] = 0
    other = {name: value.copy() for name, value in short.items()}
    other["tokens_BL"][:, 12:] = 7
    a, b = forward(short), forward(other)
    assert_close(a.hidden_BLD[:, :12], b.hidden_BLD[:, :12], atol=0)
    assert_close(a.pair_logits_BPC, b.pair_logits_BPC, atol=0)
    assert np.abs(forward().hidden_BLD[:, :12] - a.hidden_BLD[:, :12]).max() > 1e-3  # unpadded, they count


def test_no_gradient_reaches_padding():
    batch = {name: value.copy() for name, value in BATCH.items()}
    batch["pack_ids_BL"][:, 12:] = 0
    batch["tokens_BL"][:, 12:] = 49
    batch["tokens_BL"][:, :12] %= 49

    def pooled(params):
        return forward(batch, params=params).pooled_BPD.sum()

    embeddings = jax.grad(pooled)(PARAMS)["bert"]["embeddings"]
    np.testing.assert_array_equal(embeddings["token"][49], 0)
    np.testing.assert_array_equal(embeddings["position"][12:], 0)
    assert np.abs(embeddings["position"][:12]).min() > 0


def test_packing_equals_each_example_alone():
    """Two examples of 12 and 8 tokens in one row, against each in a row of its own."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 50, 12), rng.integers(0, 50, 8)

    def row(tokens, packs, positions, firsts):
        pad = 20 - len(tokens)
        return {
            "tokens_BL": np.pad(tokens, (0, pad))[None],
            "type_ids_BL": np.zeros((1, 20), int),
            "pack_ids_BL": np.pad(packs, (0, pad))[None],
            "positions_BL": np.pad(positions, (0, pad))[None],
            "mlm_positions_BM": np.arange(20)[None],
            "first_BP": np.array([firsts]),
        }

    packed = forward(
        row(
            np.concatenate([first, second]),
            np.repeat([1, 2], [12, 8]),
            np.concatenate([np.arange(12), np.arange(8)]),
            [0, 12],
        )
    )
    alone = [forward(row(t, np.ones(len(t), int), np.arange(len(t)), [0])) for t in (first, second)]
    assert_close(packed.hidden_BLD[0, :12], alone[0].hidden_BLD[0, :12])
    assert_close(packed.hidden_BLD[0, 12:], alone[1].hidden_BLD[0, :8])
    assert_close(packed.pair_logits_BPC[0], jnp.concatenate([each.pair_logits_BPC[0] for each in alone]))


def test_the_head_at_gathered_slots_is_the_head_everywhere():
    everywhere = forward(BATCH | {"mlm_positions_BM": np.tile(np.arange(20), (3, 1))}).mlm_logits_BMV
    slots = BATCH["mlm_positions_BM"]
    assert_close(
        forward().mlm_logits_BMV, np.take_along_axis(np.asarray(everywhere), slots[..., None], axis=1)
    )


def test_bfloat16_stays_near_float32():
    """Eight bits of mantissa through two layers: hidden states of unit scale within 0.05."""
    low, full = forward(dtype="bfloat16"), forward()
    assert low.hidden_BLD.dtype == jnp.bfloat16
    assert low.mlm_logits_BMV.dtype == jnp.float32
    np.testing.assert_allclose(low.hidden_BLD.astype(np.float32), full.hidden_BLD, atol=0.05)
    assert jax.tree.leaves(PARAMS)[0].dtype == jnp.float32


@pytest.mark.parametrize("packed", [False, True])
def test_the_fused_attention_is_given_the_same_problem(packed, monkeypatch):
    """cuDNN runs on GPUs alone; what it is asked, jax's plain implementation answers here."""
    fused, asked = jax.nn.dot_product_attention, []

    def plain(*args, implementation, **options):
        asked.append(implementation)
        return fused(*args, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", plain)
    batch = {name: value.copy() for name, value in BATCH.items()}
    batch["pack_ids_BL"][:, 15:] = 0
    if packed:
        batch["pack_ids_BL"][:, 9:15] = 2
        batch["first_BP"] = np.tile(np.array([[0, 9]], np.int32), (3, 1))
    found, expected = forward(batch, attention_backend="cudnn"), forward(batch)
    assert set(asked) == {"cudnn"}
    assert_close(found.hidden_BLD[:, :15], expected.hidden_BLD[:, :15])
    assert_close(found.pair_logits_BPC, expected.pair_logits_BPC)


def test_truncated_normal_of_the_published_width():
    kernel = PARAMS["bert"]["embeddings"]["token"]
    assert float(jnp.abs(kernel).max()) <= 0.04 + 1e-6
    assert float(kernel.std()) == pytest.approx(0.02 * 0.88, rel=0.1)  # cut at two standard deviations
