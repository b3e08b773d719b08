"""The enhanced mask decoder, which Hugging Face has no code for, against NumPy loops over its description."""

import math

import numpy as np
import pytest

from tests.models.oracle_deberta import loops
from tests.models.test_variants import FIRST, SECOND, forward, params_of
from tests.models.variants import VARIANTS, row


def layer_norm(x, params, config):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + config.norm.eps)
    return scaled * params["scale"] + params["bias"]


def dense(x, params):
    return x @ np.asarray(params["kernel"], np.float64) + params["bias"]


def gelu(x):
    return x * np.vectorize(lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2))))(x)


def decoder(params, config, penultimate, positions):
    """DeBERTa, section 3.2 with n = 2 and the released code: twice the last layer, whose queries begin as
    absolute positions plus the penultimate layer's states, and whose keys and values stay those states."""
    bert = params["bert"]
    last = bert["encoder"][f"layer_{config.num_layers - 1}"]
    table = np.asarray(bert["encoder"]["relative"]["table"], np.float64)
    if config.relative.norm:
        table = layer_norm(table, bert["encoder"]["relative"]["norm"], config)
    queries = penultimate + np.asarray(bert["embeddings"]["position"], np.float64)[positions]
    for _ in range(2):
        real = np.ones((1, len(positions)), bool)
        attended, _ = loops(config, last["attention"], penultimate[None], queries[None], table, real=real)
        x = layer_norm(queries + attended[0], last["attention_norm"], config)
        queries = layer_norm(
            x + dense(gelu(dense(x, last["mlp_in"])), last["mlp_out"]), last["mlp_norm"], config
        )
    return queries


@pytest.mark.parametrize("name", ["deberta", "deberta-v3"])
def test_the_decoder_and_the_logits_are_the_papers(name):
    config, params = VARIANTS[name], params_of(name)
    output = forward(name, row(FIRST))
    expected = decoder(
        params, config, np.asarray(output.hidden_states[-2][0, :12], np.float64), np.arange(12)
    )
    np.testing.assert_allclose(output.decoder_BLD[0, :12], expected, atol=2e-5)
    head = params["mlm_head"]
    x = layer_norm(gelu(dense(expected, head["dense"])), head["layer_norm"], config)
    logits = x @ np.asarray(params["bert"]["embeddings"]["token"], np.float64).T + head["bias"]
    np.testing.assert_allclose(output.mlm_logits_BMV[0, :12], logits, atol=1e-4)
    assert np.abs(output.decoder_BLD - output.hidden_BLD)[0, :12].max() > 0.1  # it is not the plain output


def test_a_packed_example_is_decoded_by_its_own_positions():
    packed, alone = forward("deberta", row(FIRST, SECOND)), forward("deberta", row(SECOND))
    np.testing.assert_allclose(packed.decoder_BLD[0, 12:19], alone.decoder_BLD[0, :7], atol=2e-5)
