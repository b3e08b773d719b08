"""Ours = transformers, on numbers kept in tests/golden/bert.npz (no torch needed).

Tolerances are absolute. Outputs of size about 1 agree to a few 1e-6 in float32, gradients of size up to
about 1 likewise: 1e-5 and 1e-4 leave room for another CPU's summation order and for nothing else.
"""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.interop import names
from bert_jax.models import bert
from bert_jax.objectives.pretrain import pretraining

GOLDEN = Path(__file__).parents[1] / "golden" / "bert.npz"
OUTPUTS, GRADIENTS = 1e-5, 1e-4


def group(golden, prefix):
    return {name.removeprefix(prefix): golden[name] for name in golden if name.startswith(prefix)}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def model_of(golden, **settings):
    config = names.config_from_hf(json.loads(str(golden["config"])), place="bert.npz")
    return dataclasses.replace(config, **settings)


@functools.cache  # compiling is what takes the time here
def programs(config):
    """(outputs and sums, gradients of the loss), both from (params, batch)."""
    objective = pretraining(bert.BertForPretraining(config).apply, "nsp")

    def outputs(params, batch):
        output = objective.forward(params, batch, None)
        return output, objective.sums(output, batch)

    def loss(params, batch):
        return objective.loss(params, batch, None, objective.weights(batch))[0]

    return jax.jit(outputs), jax.jit(jax.grad(loss))


def compute(config, weights, batch, *, gradients=False):
    """Ours under the golden's names: outputs, losses and, if asked for, gradients by Hugging Face name."""
    run, differentiate = programs(config)
    params = names.from_hf(weights, config)
    output, sums = run(params, batch)
    found = {
        "hidden_NBLD": np.stack(output.hidden_states),
        "pooled_BD": output.pooled_BPD[:, 0],
        "mlm_logits_BMV": output.mlm_logits_BMV,
        "pair_logits_BC": output.pair_logits_BPC[:, 0],
        **{name: total / weight for name, (total, weight) in sums.items() if name.endswith("_loss")},
    }
    if gradients:
        by_name = names.to_hf(differentiate(params, batch), config)
        found |= {f"gradient/{name}": value for name, value in by_name.items()}
    return {name: np.asarray(value) for name, value in found.items()}


def largest_differences(found, golden):
    """(of the outputs and losses, of the gradients): the largest absolute difference and its name."""
    worst = {False: (0.0, ""), True: (0.0, "")}
    for name, value in found.items():
        assert value.shape == golden[name].shape, name
        difference = float(np.max(np.abs(value - golden[name])))
        kind = name.startswith("gradient/")
        worst[kind] = max(worst[kind], (difference, name))
    return worst[False], worst[True]


@pytest.mark.parametrize("layers", ["loop", "scan"])
def test_outputs_losses_and_gradients_are_transformers(golden, layers):
    config = model_of(golden, layers=layers)
    found = compute(config, group(golden, "weight/"), group(golden, "batch/"), gradients=True)
    expected = {name for name in golden if not name.startswith(("weight/", "batch/"))}
    assert found.keys() == expected - {"config", "provenance"}  # every tensor of the golden is compared
    outputs, gradients = largest_differences(found, golden)
    assert outputs[0] < OUTPUTS, outputs
    assert gradients[0] < GRADIENTS, gradients


@pytest.mark.parametrize(
    "name",
    [
        "bert.embeddings.LayerNorm.bias",
        "bert.encoder.layer.1.attention.self.query.bias",
        "bert.encoder.layer.2.intermediate.dense.bias",
        "bert.pooler.dense.bias",
        "cls.predictions.transform.dense.bias",
        "cls.predictions.bias",
        "cls.seq_relationship.bias",
    ],
)
def test_one_bias_off_by_a_thousandth_is_noticed(golden, name):
    weights = group(golden, "weight/")
    weights[name] = weights[name].copy()
    weights[name][1] += 1e-3
    found = compute(model_of(golden), weights, group(golden, "batch/"))
    outputs, _ = largest_differences(found, golden)
    assert outputs[0] > 2 * OUTPUTS, outputs


def test_the_other_gelu_is_noticed(golden):
    config = model_of(golden, activation="gelu_tanh")
    found = compute(config, group(golden, "weight/"), group(golden, "batch/"))
    assert largest_differences(found, golden)[0][0] > 2 * OUTPUTS


def test_padding_never_changes_a_real_token(golden):
    """Other tokens and types behind the padding, or more of it: the same states at the real tokens."""
    config, batch = model_of(golden), group(golden, "batch/")
    params = names.from_hf(group(golden, "weight/"), config)
    real = batch["pack_ids_BL"] > 0
    assert not real.all()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, config.vocab_size, real.shape).astype(np.int32)
    other = batch | {
        "tokens_BL": np.where(real, batch["tokens_BL"], noise),
        "type_ids_BL": np.where(real, batch["type_ids_BL"], 1 - batch["type_ids_BL"]),
    }
    longer = dict(batch)
    for name in ("tokens_BL", "type_ids_BL", "pack_ids_BL", "positions_BL"):
        longer[name] = np.pad(batch[name], ((0, 0), (0, 5)))
    run, _ = programs(config)
    states, changed, padded = (
        np.stack(run(params, fields)[0].hidden_states) for fields in (batch, other, longer)
    )
    assert np.abs(states - changed)[:, ~real].max() > 0.1  # the noise is seen where it stands
    np.testing.assert_array_equal(states[:, real], changed[:, real])
    np.testing.assert_allclose(states[:, real], padded[:, :, : real.shape[1]][:, real], rtol=0, atol=OUTPUTS)
