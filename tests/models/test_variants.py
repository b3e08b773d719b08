"""Properties of every variant, whatever its weights are."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models.bert import BertWithHeads, init_params, pretraining_heads
from bert_jax.models.block import PARTS
from bert_jax.models.encoder import every_layer
from bert_jax.models.parameters import TABLE
from tests.models.variants import VARIANTS, random_params, row, variant

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.integers(1, 50, 12), RNG.integers(1, 50, 7)
HEADS = {name: (*pretraining_heads(config), "rtd") for name, config in VARIANTS.items()}
every_variant = pytest.mark.parametrize("name", VARIANTS)


@functools.cache
def params_of(name):
    shapes = jax.eval_shape(lambda key: init_params(VARIANTS[name], key, HEADS[name]), jax.random.key(0))
    return random_params(shapes)


@functools.cache
def compiled(config, heads, records):
    def apply(params, batch, dropout_key):
        model = BertWithHeads(config, heads)
        record = every_layer(config, "probabilities") if records else {}
        return model.apply({"params": params}, batch, dropout_key=dropout_key, record=record)

    return jax.jit(apply)


def forward(name, batch, *, params=None, dropout_key=None, records=True, **fields):
    """records: attention's probabilities, which no scan and no local attention in blocks gives."""
    function = compiled(variant(name, **fields), HEADS[name], records)
    return function(params_of(name) if params is None else params, batch, dropout_key)


def real(output, tokens):
    """The outputs at the first `tokens` positions."""
    return {
        "hidden": [state[:, :tokens] for state in output.hidden_states],
        "attentions": [att[:, :, :tokens, :tokens] for att in output.attentions],
        "mlm": output.mlm_logits_BMV[:, :tokens],
        "rtd": output.rtd_logits_BL[:, :tokens],
        "pair": output.pair_logits_BPC,
    }


def assert_close(a, b, atol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=atol), a, b)


@every_variant
def test_padding_changes_no_real_token(name):
    short = row(FIRST)
    other = short | {"tokens_BL": np.where(short["pack_ids_BL"] > 0, short["tokens_BL"], 7)}
    a, b = real(forward(name, short), 12), real(forward(name, other), 12)
    assert_close(a, b, 0)
    unpadded = forward(
        name, other | {"pack_ids_BL": np.ones((1, 20), int), "positions_BL": np.arange(20)[None]}
    )
    assert np.abs(real(unpadded, 12)["hidden"][-1] - a["hidden"][-1]).max() > 1e-3


@every_variant
def test_packing_equals_each_example_alone(name):
    packed, alone = forward(name, row(FIRST, SECOND)), [forward(name, row(each)) for each in (FIRST, SECOND)]
    for start, each, tokens in ((0, alone[0], FIRST), (12, alone[1], SECOND)):
        window = slice(start, start + len(tokens))
        for found, expected in zip(packed.hidden_states, each.hidden_states, strict=True):
            np.testing.assert_allclose(found[0, window], expected[0, : len(tokens)], atol=2e-5)
        for found, expected in zip(packed.attentions, each.attentions, strict=True):
            np.testing.assert_allclose(
                found[0, :, window, window], expected[0, :, : len(tokens), : len(tokens)], atol=2e-5
            )
        np.testing.assert_allclose(
            packed.mlm_logits_BMV[0, window], each.mlm_logits_BMV[0, : len(tokens)], atol=1e-4
        )
    if packed.pair_logits_BPC is not None:
        both = np.concatenate([each.pair_logits_BPC[0] for each in alone])
        np.testing.assert_allclose(packed.pair_logits_BPC[0], both, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("shared-ffn", {"layers": "scan"}),
        pytest.param("deberta-v2", {"layers": "scan", "remat": "full"}, marks=pytest.mark.slow),
        ("modernbert", {"layers": "scan", "remat": "full"}),
        pytest.param("modernbert", {"remat": "attention"}, marks=pytest.mark.slow),
        pytest.param("deberta-v2", {"remat": "dots"}, marks=pytest.mark.slow),
    ],
)
def test_scan_and_remat_compute_what_the_loop_does(name, fields):
    """Outputs and gradients with dropout on: of a parameter that layers share, the sum over them."""
    (_, expected), gradients = differentiated(name)
    (_, found), others = differentiated(name, **fields)
    assert_close(found, expected, 1e-4)
    assert_close(others, gradients, 1e-5 * largest(gradients))


@pytest.mark.parametrize(
    ("remat", "scores", "wide", "states"),
    [("none", 8, 8, 19), ("attention", 0, 8, 19), ("dots", 0, 2, 9), ("full", 0, 0, 5)],
)
def test_what_remat_recomputes_is_not_kept_for_the_backward_pass(remat, scores, wide, states):
    """How many arrays of two layers are kept: [B, H, L, L], as wide as the MLP, as wide as the states."""
    config = variant("bert", remat=remat)

    def kept(params):
        model = BertWithHeads(config, HEADS["bert"])

        def total(params):
            return model.apply({"params": params}, row(FIRST), dropout_key=jax.random.key(1)).hidden_BLD.sum()

        return jax.tree.leaves(jax.vjp(total, params)[1])

    shapes = [leaf.shape for leaf in jax.eval_shape(kept, params_of("bert"))]
    counts = [shapes.count(shape) for shape in ((1, 3, 20, 20), (1, 20, 40), (1, 20, 24))]
    assert counts == [scores, wide, states]


@pytest.mark.parametrize("name", ["albert-groups", "modernbert"])
def test_scan_picks_each_layers_parameters(name):
    batch = row(FIRST)
    found, expected = (forward(name, batch, records=False, layers=layers) for layers in ("scan", "loop"))
    assert_close(found, expected, 1e-5)
    assert len(found.hidden_states) == len(expected.hidden_states) == VARIANTS[name].num_layers + 1


def test_packing_equals_each_example_alone_in_blocks():
    """Local attention over five blocks, in which examples begin and end, against the mask over each alone."""
    together = forward("modernbert", row(FIRST, SECOND), records=False).hidden_states
    alone = [forward("modernbert", row(tokens)).hidden_states for tokens in (FIRST, SECOND)]
    for packed, first, second in zip(together, *alone, strict=True):
        np.testing.assert_allclose(packed[:, :12], first[:, :12], atol=1e-4)
        np.testing.assert_allclose(packed[:, 12:19], second[:, :7], atol=1e-4)


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


@functools.cache
def differentiated(name, **fields):
    """((loss, output), gradients) of a packed row with dropout; every output that the heads give counts."""

    def loss(params):
        model = BertWithHeads(variant(name, **fields), HEADS[name])
        output = model.apply({"params": params}, row(FIRST, SECOND), dropout_key=jax.random.key(1))
        outputs = (output.mlm_logits_BMV, output.rtd_logits_BL, output.pair_logits_BPC, output.pooled_BPD)
        return sum(jnp.sum(value**2) for value in outputs if value is not None), output

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params_of(name))


@pytest.mark.parametrize("name", ["shared-attention", "shared-ffn"])
def test_sharing_equals_layers_that_hold_equal_parameters(name):
    """The unshared model with every layer's parameters copied from their owner; and the gradient of a shared
    parameter is the sum of the copies'."""
    config, shared = VARIANTS[name], params_of(name)
    layers = {
        f"layer_{i}": {
            leaf: shared["bert"]["encoder"][f"layer_{config.owner(part, i)}"][leaf]
            for part, names in PARTS.items()
            for leaf in names
            if leaf in shared["bert"]["encoder"]["layer_0"]
        }
        for i in range(config.num_layers)
    }
    copies = shared | {"bert": shared["bert"] | {"encoder": layers}}

    def gradient(params, config):
        def loss(params):
            output = BertWithHeads(config, HEADS[name]).apply({"params": params}, row(FIRST))
            return jnp.sum(output.mlm_logits_BMV**2), output

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    unshared = dataclasses.replace(config, sharing="none", groups=1)
    (of_owners, expected), (of_copies, found) = gradient(shared, config), gradient(copies, unshared)
    assert_close(found, expected, 1e-5)
    of_owners, of_copies = of_owners["bert"]["encoder"], of_copies["bert"]["encoder"]
    for part, names in PARTS.items():
        for owner in {config.owner(part, i) for i in range(config.num_layers)}:
            followers = [i for i in range(config.num_layers) if config.owner(part, i) == owner]
            for leaf in (name for name in names if name in of_owners["layer_0"]):
                total = jax.tree.map(lambda *g: sum(g), *(of_copies[f"layer_{i}"][leaf] for i in followers))
                assert_close(of_owners[f"layer_{owner}"][leaf], total, 1e-5 * largest(of_owners))


@every_variant
def test_bfloat16_stays_near_float32(name):
    """bfloat16 has eight bits of mantissa. After LayerNorm states are of unit scale, and two to eight layers with
    weights far from their initial values stay within 0.15 everywhere and 0.03 on average."""
    low, full = forward(name, row(FIRST, SECOND), dtype="bfloat16"), forward(name, row(FIRST, SECOND))
    assert low.hidden_BLD.dtype == jnp.bfloat16
    assert low.mlm_logits_BMV.dtype == low.rtd_logits_BL.dtype == jnp.float32
    error = np.abs(low.hidden_BLD.astype(np.float32) - full.hidden_BLD)[:, :19]
    assert error.max() < 0.15
    assert 1e-5 < error.mean() < 0.03


@pytest.mark.parametrize("name", ["bert", "deberta-v2"])
def test_dropout_changes_the_output_and_its_key_decides_how(name):
    batch, key = row(FIRST), jax.random.key(1)
    plain, dropped = forward(name, batch), forward(name, batch, dropout_key=key)
    assert np.abs(plain.hidden_BLD - dropped.hidden_BLD)[:, :12].max() > 0.1
    assert_close(dropped, forward(name, batch, dropout_key=key), 0)
    other = forward(name, batch, dropout_key=jax.random.key(2))
    assert np.abs(other.hidden_BLD - dropped.hidden_BLD)[:, :12].max() > 0.1


@every_variant
def test_every_parameter_has_axes(name):
    params = params_of(name)
    assert jax.tree.structure(TABLE.map(lambda row: row.axes, params)) == jax.tree.structure(params)


@pytest.mark.parametrize(
    "name", ["shared-ffn", "deberta", pytest.param("deberta-v2", marks=pytest.mark.slow)]
)
def test_every_parameter_is_used(name):
    _, gradients = differentiated(name)
    unused = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)
        if not np.abs(leaf).max() > 0
    ]
    assert unused == []
