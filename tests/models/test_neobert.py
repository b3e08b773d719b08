"""NeoBERT, which transformers has not, against a plain implementation over its own tensors, token by token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.interop import names
from bert_jax.models import inference
from tests.golden import drawn
from tests.interop.small import CONFIGS

CONFIG = CONFIGS["neobert"]
D, H, K = CONFIG.hidden_size, CONFIG.num_heads, CONFIG.head_dim


def rms(x, scale):
    return x / np.sqrt((x**2).mean() + 1e-5) * scale


def turned(x, position):
    """Complex numbers out of neighbours, each turned by its angle."""
    pairs = x[0::2] + 1j * x[1::2]
    pairs = pairs * np.exp(1j * position * 10_000.0 ** (-np.arange(0, K, 2) / K))
    return np.stack([pairs.real, pairs.imag], -1).reshape(K)


def neobert(t, tokens):
    """(last states, logits) of one row, as the hub's model.py computes them, in float64."""
    x = [t["model.encoder.weight"][token] for token in tokens]
    for i in range(CONFIG.num_layers):
        w = {name.split(f"encoder.{i}.")[1]: a for name, a in t.items() if f"encoder.{i}." in name}
        projected = [w["qkv.weight"] @ rms(token, w["attention_norm.weight"]) for token in x]
        heads = [p.reshape(H, 3 * K) for p in projected]  # each head: its query, key, value
        out = []
        for place in range(len(x)):
            parts = []
            for h in range(H):
                q = turned(heads[place][h, :K], place)
                scores = [
                    q @ turned(other[h, K : 2 * K], there) / K**0.5 for there, other in enumerate(heads)
                ]
                weights = np.exp(scores - np.max(scores))
                weights /= weights.sum()
                parts.append(
                    sum(weight * other[h, 2 * K :] for weight, other in zip(weights, heads, strict=True))
                )
            out.append(x[place] + w["wo.weight"] @ np.concatenate(parts))
        x = []
        for token in out:
            both = w["ffn.w12.weight"] @ rms(token, w["ffn_norm.weight"])
            gate, value = np.split(both, 2)
            x.append(token + w["ffn.w3.weight"] @ (gate / (1 + np.exp(-gate)) * value))
    states = np.array([rms(token, t["model.layer_norm.weight"]) for token in x])
    return states, states @ t["decoder.weight"].T + t["decoder.bias"]


TENSORS = drawn.weights(CONFIG, ("mlm_head",), seed=3)
DOUBLE = {name: array.astype(np.float64) for name, array in TENSORS.items()}
TOKENS, TARGETS = np.random.default_rng(0).integers(1, CONFIG.vocab_size, (2, 8), np.int32)


def logits_of(params):
    """[L, V]"""
    row = TOKENS[None]
    return inference.forward(CONFIG, params, row, np.zeros_like(row), np.ones_like(row)).mlm_logits_BLV[0]


def test_states_and_logits():
    states, logits = neobert(DOUBLE, TOKENS)
    params = names.from_hf(TENSORS, CONFIG)
    row = TOKENS[None]
    out = inference.forward(CONFIG, params, row, np.zeros_like(row), np.ones_like(row))
    np.testing.assert_allclose(out.hidden_BLD[0], states, atol=1e-5)
    np.testing.assert_allclose(out.mlm_logits_BLV[0], logits, atol=1e-5)
    assert np.ptp(logits) > 1


def plain_loss(tensors):
    """Mean cross-entropy of TARGETS, in nats."""
    logits = neobert(tensors, TOKENS)[1]
    highest = logits.max(-1)
    log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(-1))
    return (log_sum - logits[np.arange(len(TARGETS)), TARGETS]).mean()


@pytest.fixture(scope="module")
def gradients():
    """Of the same loss, under the tensors' own names."""

    def loss(params):
        return -jnp.take_along_axis(jax.nn.log_softmax(logits_of(params)), TARGETS[:, None], -1).mean()

    params = jax.tree.map(jnp.asarray, names.from_hf(TENSORS, CONFIG))
    return names.to_hf(jax.device_get(jax.grad(loss)(params)), CONFIG)


@pytest.mark.parametrize("name", TENSORS)
def test_gradients(gradients, name):
    """Along the gradient itself the loss of the plain implementation changes by the gradient's norm."""
    norm = np.linalg.norm(gradients[name])
    along = gradients[name] / norm
    ahead, behind = (
        plain_loss(DOUBLE | {name: DOUBLE[name] + sign * along.astype(np.float64)}) for sign in (1e-5, -1e-5)
    )
    assert norm > 1e-3
    assert (ahead - behind) / 2e-5 == pytest.approx(norm, abs=1e-6, rel=1e-4)
