"""The encoder's parameters and dropout keys; scan = loop and remat = none are in test_variants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models.bert import init_params
from bert_jax.models.block import layer_pattern
from bert_jax.models.encoder import DropoutKeys, _pieces
from tests.models.variants import VARIANTS, variant

KEY = jax.random.key(5, impl="threefry2x32")


def keys_of(name, ids):
    keys = DropoutKeys.of(VARIANTS[name], KEY, jnp.asarray(ids, jnp.uint32))
    return jax.tree.map(jax.random.key_data, keys)


@pytest.mark.parametrize(
    ("name", "passes"), [("bert", 2), ("albert-groups", 4), ("deberta", 4), ("deberta-v3", 4)]
)
def test_a_pass_is_a_layer_of_the_encoder_or_of_the_mask_decoder(name, passes):
    assert VARIANTS[name].layer_passes == len(keys_of(name, [0]).layers) == passes


def test_no_two_sites_or_rows_have_the_same_key():
    leaves = jax.tree.leaves(keys_of("deberta-v2", [3, 4]))
    assert [leaf.shape[0] for leaf in leaves].count(1) == 4  # the relative table's, one a pass
    keys = np.concatenate(leaves)
    assert len(np.unique(keys, axis=0)) == len(keys) == 2 * (2 + 3 * 4) + 4


def test_a_rows_keys_are_those_of_its_example():
    together, alone = keys_of("deberta", [3, 4]), keys_of("deberta", [4])
    for two, one in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(two[-1:], one)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("bert", [5, 5]),
        ("albert-groups", [5, 0, 5, 0]),
        ("shared-attention", [5, 3]),
        ("shared-ffn", [5, 2]),
    ],
)
@pytest.mark.parametrize("layers", ["loop", "scan"])
def test_shared_parameters_are_held_by_the_first_layer_for_loop_and_scan_alike(name, held, layers):
    config = variant(name, layers=layers)
    encoder = jax.eval_shape(lambda key: init_params(config, key), KEY)["bert"]["encoder"]
    assert set(encoder) == {f"layer_{i}" for i, count in enumerate(held) if count}
    assert [len(encoder.get(f"layer_{i}", ())) for i in range(config.num_layers)] == held


@pytest.mark.parametrize(
    ("layers", "recorded", "pieces"),
    [
        (
            8,
            {},
            [(0, 1), (1, 7), (7, 8)],
        ),  # the first layer lacks a norm, then two periods of three, one is left
        (7, {}, [(0, 1), (1, 7)]),
        (6, {}, [(i, i + 1) for i in range(6)]),  # one period alone is no run
        (14, {7}, [(0, 1), (1, 7), (7, 8), (8, 14)]),
    ],
)
def test_a_scan_takes_runs_of_whole_periods(layers, recorded, pieces):
    config = variant("modernbert", num_layers=layers, layers="scan")
    found = _pieces(layer_pattern(config), config, dict.fromkeys(recorded, frozenset()))
    assert [(piece.start, piece.stop) for piece in found] == pieces
