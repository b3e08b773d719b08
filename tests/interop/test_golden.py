"""Ours = transformers, on the numbers kept in tests/golden (no torch needed).

Tolerances are absolute. Outputs of size about 1 agree to a few 1e-6 in float32, gradients' norms of up to
about 1 likewise: 1e-5 and 1e-4 leave room for another CPU's summation order and for nothing else.
"""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest

from bert_jax.interop import config_json
from bert_jax.interop.families import FAMILIES
from bert_jax.interop.load import settled
from tests.golden import drawn
from tests.golden.make_goldens import WEIGHTS
from tests.interop import computed

GOLDENS = Path(__file__).parents[1] / "golden"
OUTPUTS, GRADIENTS = 1e-5, 1e-4
INPUTS = {"config", "heads", "provenance", "gradient_names", "gradient_norms"}


@functools.cache
def golden(family):
    with np.load(GOLDENS / f"{family}.npz") as file:
        return dict(file)


def batch_of(family):
    found = golden(family)
    return {name.removeprefix("batch/"): found[name] for name in found if name.startswith("batch/")}


def model_of(family, **settings):
    """(config, weights) of a golden."""
    raw, heads = json.loads(str(golden(family)["config"])), tuple(golden(family)["heads"])
    config = config_json.config_from_hf(raw, place=family)
    weights = drawn.weights(config, heads, seed=WEIGHTS)
    return dataclasses.replace(settled(config, weights), **settings), weights


def largest_difference(found, family):
    """Of the outputs and losses, and the name of where it is."""
    expected = {
        name: array
        for name, array in golden(family).items()
        if name not in INPUTS and not name.startswith("batch/")
    }
    ours = {n: a for n, a in found.items() if n != "attentions_NBHLL" and not n.startswith("gradient/")}
    differences = computed.differences(ours, expected, batch_of(family))
    return max((difference, name) for name, difference in differences.items())


GOLDEN = [family for family in FAMILIES if family != "neobert"]
"""transformers has no NeoBERT: tests/models/test_neobert.py compares it."""
CASES = [(family, "loop") for family in GOLDEN] + [("bert", "scan")]


@pytest.mark.parametrize(("family", "layers"), CASES)
def test_outputs_losses_and_gradients_are_transformers(family, layers):
    config, weights = model_of(family, layers=layers)
    found = computed.compute(config, weights, batch_of(family))
    worst = largest_difference(found, family)
    assert worst[0] < OUTPUTS, worst
    norms = dict(zip(golden(family)["gradient_names"], golden(family)["gradient_norms"], strict=True))
    ours = {n.removeprefix("gradient/"): np.linalg.norm(a) for n, a in found.items() if "gradient/" in n}
    assert ours.keys() == norms.keys()
    assert max(norms.values()) > 0.1
    assert {name: norm for name, norm in norms.items() if abs(ours[name] - norm) > GRADIENTS} == {}


@pytest.mark.parametrize("family", GOLDEN)
def test_there_is_a_golden_of_each_family_and_it_is_small(family):
    assert (GOLDENS / f"{family}.npz").stat().st_size < 60_000


@pytest.mark.parametrize("family", GOLDEN)
def test_any_bias_off_by_a_thousandth_is_noticed(family):
    """Of the outputs' own tolerance: nothing that a family adds to BERT hides behind another's noise. ModernBERT, which
    has one bias alone, has scales in their place."""
    config, weights = model_of(family)
    biases = [name for name in weights if name.endswith("bias")]
    if len(biases) < 8:
        biases = [name for name, array in weights.items() if array.ndim == 1]
    keys = ("key.bias", "key_proj.bias", "k_lin.bias")  # adds the same to all scores of a query
    seen = {}
    for name in biases[:: len(biases) // 8]:
        if not name.endswith(keys):
            changed = weights | {
                name: weights[name] + np.float32(1e-3) * (np.arange(weights[name].size) == 1)
            }
            changed[name] = changed[name].astype(np.float32)
            seen[name] = largest_difference(computed.compute(config, changed, batch_of(family)), family)[0]
    assert len(seen) > 5
    assert {name: difference for name, difference in seen.items() if difference < 2 * OUTPUTS} == {}


def test_the_other_gelu_is_noticed():
    config, weights = model_of("bert", activation="gelu_tanh")
    found = computed.compute(config, weights, batch_of("bert"))
    assert largest_difference(found, "bert")[0] > 2 * OUTPUTS


@pytest.mark.parametrize("family", GOLDEN)
def test_padding_never_changes_a_real_token(family):
    """Other tokens and types behind the padding: the same states at the real tokens."""
    config, weights = model_of(family)
    batch = batch_of(family)
    real = batch["pack_ids_BL"] > 0
    assert not real.all()
    noise = np.random.default_rng(0).integers(0, config.vocab_size, real.shape).astype(np.int32)
    other = batch | {
        "tokens_BL": np.where(real, batch["tokens_BL"], noise),
        "type_ids_BL": np.where(real, batch["type_ids_BL"], 1 - batch["type_ids_BL"]),
    }
    states, changed = (computed.compute(config, weights, b)["hidden_NBLD"] for b in (batch, other))
    assert np.abs(states - changed)[0, ~real].max() > 0.1  # the noise is seen where it stands
    np.testing.assert_array_equal(states[:, real], changed[:, real])


def test_more_padding_changes_nothing_either():
    config, weights = model_of("bert")
    batch = batch_of("bert")
    longer = batch | {
        name: np.pad(batch[name], ((0, 0), (0, 5)))
        for name in ("tokens_BL", "type_ids_BL", "pack_ids_BL", "positions_BL", "rtd_labels_BL")
    }
    real = batch["pack_ids_BL"] > 0
    states, padded = (computed.compute(config, weights, b)["hidden_NBLD"] for b in (batch, longer))
    padded = padded[:, :, : real.shape[1]]
    np.testing.assert_allclose(states[:, real], padded[:, real], rtol=0, atol=OUTPUTS)
