"""Replaced-token detection: loss and gradients against a second implementation in NumPy, written from the
papers; what is drawn and where it is written; the two sizes and what they share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from bert_jax import config as configs
from bert_jax.benchmarks.synthetic import synthetic
from bert_jax.config.electra import discriminator_config, generator_config
from bert_jax.config.presets import PRESETS
from bert_jax.models import bert
from bert_jax.models import electra as replaced
from bert_jax.models.parameters import TABLE, path_name
from bert_jax.objectives.electra import replaced_token_detection

SHARINGS = ("shared", "disentangled", "none")


def make_config(sharing="shared", **groups):
    raw = {
        "tokenizer": {"vocab_size": 23},
        "data": {"sequence_length": 9, "sentence_objective": "none"},
        "masking": {"max_predictions": 3},
        "model": {
            "preset": "electra-small",
            "hidden_size": 12,
            "embedding_size": 6,
            "num_heads": 3,
            "mlp_size": 15,
            "num_layers": 1,
            "max_positions": 9,
            "dropout_rate": 0.0,
            "attention_dropout_rate": 0.0,
        },
        "objective": {
            "name": "rtd",
            "generator_width": 0.67,
            "generator_depth": 0.5,
            "embedding_sharing": sharing,
            "temperature": 0.8,
        },
    }
    for group, values in groups.items():
        raw[group] = raw[group] | values
    return configs.resolve(raw)


def make_batch(config):
    """Three rows: full, padded, and with a slot out of use."""
    batch = synthetic(config, 3)
    batch["pack_ids_BL"][1, 6:] = 0
    batch["mlm_positions_BM"][1] = 1, 3, 5
    batch["mlm_positions_BM"][2, 2] = 0
    batch["mlm_weights_BM"][2, 2] = 0
    return batch


# ---------------------------------------------------------------------------------------------
# A second implementation, float64
# ---------------------------------------------------------------------------------------------


def _affine(x, p):
    kernel, bias = p["kernel"], p["bias"]
    inputs = kernel.ndim - bias.ndim
    return np.tensordot(x, kernel, (range(x.ndim - inputs, x.ndim), range(inputs))) + bias


def _norm(x, p):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-12) * p["scale"] + p["bias"]


def _gelu(x):
    return x * (1 + scipy.special.erf(x / np.sqrt(2))) / 2


def _softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _encode(tables, bert, tokens, types, length):
    """The last states of one row of `length` tokens (Vaswani et al. 2017; Devlin et al. 2019, appendix A.2)."""
    x = tables["token"][tokens[:length]] + tables["position"][:length] + tables["type"][types[:length]]
    x = _norm(x, tables["norm"])
    projection = bert.get("embeddings", {}).get("projection")
    x = x if projection is None else _affine(x, projection)
    for name in sorted(bert["encoder"]):
        layer = bert["encoder"][name]
        query, key, value = (_affine(x, layer["attention"][part]) for part in ("query", "key", "value"))
        weights = _softmax(np.einsum("ihk,jhk->hij", query, key) / np.sqrt(query.shape[-1]))
        context = np.einsum("hij,jhk->ihk", weights, value)
        x = _norm(x + _affine(context, layer["attention"]["output"]), layer["attention_norm"])
        x = _norm(x + _affine(_gelu(_affine(x, layer["mlp_in"])), layer["mlp_out"]), layer["mlp_norm"])
    return x


def _terms(params, frozen, batch, drawn, sharing):
    """(MLM, RTD) losses of the tokens `drawn`; `frozen` is what sg() holds of the generator's tables."""
    generator, discriminator = params["generator"], params["discriminator"]
    theirs = discriminator["bert"]["embeddings"]
    ours = theirs if sharing == "shared" else generator["bert"]["embeddings"]
    if sharing == "disentangled":
        theirs = theirs | {name: frozen[name] + theirs[name] for name in ("token", "position")}
    mlm, rtd = [], []
    for row in range(len(drawn)):
        length = int((batch["pack_ids_BL"][row] > 0).sum())
        tokens, types = batch["tokens_BL"][row], batch["type_ids_BL"][row]
        slots = np.flatnonzero(batch["mlm_weights_BM"][row])
        places, targets = batch["mlm_positions_BM"][row, slots], batch["mlm_targets_BM"][row, slots]
        states = _encode(ours, generator["bert"], tokens, types, length)[places]
        head = generator["mlm_head"]
        logits = (
            _norm(_gelu(_affine(states, head["dense"])), head["layer_norm"]) @ ours["token"].T + head["bias"]
        )
        mlm.extend(-np.log(_softmax(logits)[np.arange(len(slots)), targets]))

        corrupt, is_replaced = tokens.copy(), np.zeros(length)
        for place, target, token in zip(places, targets, drawn[row, slots], strict=True):
            corrupt[place], is_replaced[place] = token, token != target
        states = _encode(theirs, discriminator["bert"], corrupt, types, length)
        head = discriminator["rtd_head"]
        logits = _affine(_gelu(_affine(states, head["dense"])), head["output"])[:, 0]
        rtd.extend(np.log1p(np.exp(np.where(is_replaced, -logits, logits))))
    return np.array([np.mean(mlm), np.mean(rtd)])


# ---------------------------------------------------------------------------------------------
# Loss and gradients
# ---------------------------------------------------------------------------------------------


@functools.cache
def differentiated(sharing):
    """(params, batch, output, means of the two terms, their gradients with a leading axis of 2)."""
    config = make_config(sharing)
    batch = make_batch(config)
    rng = np.random.default_rng(1)
    # Not as they are initialised: differences, biases and LayerNorms are anything but 0 and 1.
    shapes = jax.eval_shape(lambda: replaced.init_params(config, jax.random.key(0)))
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: rng.normal(path[-1].key == "scale", 0.5, leaf.shape).astype(np.float32), shapes
    )
    objective = replaced_token_detection(functools.partial(replaced.forward, config), weight=50.0)

    def weighted(params, scales):
        output = objective.forward(params, {}, batch, None)
        sums = objective.sums(output, batch)
        means = jnp.stack([sums[name][0] / weight for name, weight in objective.weights(batch).items()])
        return means @ scales, (output, means)

    gradient = jax.jit(jax.grad(weighted, has_aux=True))
    of_mlm, (output, means) = gradient(params, jnp.array([1.0, 0.0]))
    of_rtd, _ = gradient(params, jnp.array([0.0, 1.0]))
    gradients = jax.tree.map(lambda *terms: jnp.stack(terms), of_mlm, of_rtd)
    return params, batch, *jax.device_get((output, means, gradients))


@pytest.mark.parametrize("sharing", SHARINGS[:2])
def test_loss_and_gradients_are_the_second_implementations(sharing):
    """Gradients of every parameter along a random direction, by central differences."""
    params, batch, output, means, gradients = differentiated(sharing)
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    drawn = np.take_along_axis(output.tokens_BL, batch["mlm_positions_BM"], 1)
    frozen = exact["generator"]["bert"].get("embeddings")
    terms = functools.partial(_terms, frozen=frozen, batch=batch, drawn=drawn, sharing=sharing)
    np.testing.assert_allclose(means, terms(exact), rtol=1e-5)
    assert 0 < output.replaced_BL.sum() <= batch["mlm_weights_BM"].sum()

    rng = np.random.default_rng(2)
    leaves, tree = jax.tree.flatten(exact)
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for number, (name, gradient) in enumerate(zip(names, jax.tree.leaves(gradients), strict=True)):
        step = rng.normal(size=leaves[number].shape)
        ends = [
            terms(
                tree.unflatten([*leaves[:number], leaves[number] + sign * 1e-5 * step, *leaves[number + 1 :]])
            )
            for sign in (1, -1)
        ]
        expected = (ends[0] - ends[1]) / 2e-5
        along = (gradient.reshape(2, -1) * step.ravel()).sum(-1)
        np.testing.assert_allclose(along, expected, rtol=2e-4, atol=2e-5, err_msg=name)
        if not name.endswith("key/bias"):  # which the softmax does not see
            assert np.abs(gradient).max() > 1e-4, f"{name} has no use"


def test_the_generator_learns_nothing_from_the_discriminators_loss():
    for sharing in SHARINGS[:2]:
        *_, gradients = differentiated(sharing)
        of_rtd = [leaf[1] for leaf in jax.tree.leaves(gradients["generator"])]
        assert all(np.all(leaf == 0) for leaf in of_rtd)


def test_disentangled_tables_take_each_loss_apart_and_shared_ones_both():
    *_, gradients = differentiated("disentangled")
    for name in ("token", "position"):
        mlm, rtd = gradients["discriminator"]["bert"]["embeddings"][name]
        assert np.all(mlm == 0) and np.abs(rtd).max() > 1e-3
        mlm, rtd = gradients["generator"]["bert"]["embeddings"][name]
        assert np.abs(mlm).max() > 1e-3 and np.all(rtd == 0)
    *_, gradients = differentiated("shared")
    tables = {k: v for k, v in gradients["discriminator"]["bert"]["embeddings"].items() if k != "projection"}
    for mlm, rtd in jax.tree.leaves(tables):
        assert np.abs(mlm).max() > 1e-3 and np.abs(rtd).max() > 1e-3


# ---------------------------------------------------------------------------------------------
# Parameters
# ---------------------------------------------------------------------------------------------


def _embeddings(params):
    return params["bert"]["embeddings"]


def test_stand_alone_trees_have_the_tables_that_were_trained():
    params, *_ = differentiated("shared")
    alone = replaced.generator_params(params, "shared")
    for name in ("token", "position", "type", "norm"):
        assert _embeddings(alone)[name] is _embeddings(params["discriminator"])[name]
        assert name not in params["generator"]["bert"].get("embeddings", {})
    assert replaced.discriminator_params(params, "shared") is params["discriminator"]

    params, *_ = differentiated("disentangled")
    alone = _embeddings(replaced.discriminator_params(params, "disentangled"))
    generator, delta = _embeddings(params["generator"]), _embeddings(params["discriminator"])
    for name in ("token", "position"):
        np.testing.assert_array_equal(alone[name], generator[name] + delta[name])
    assert alone["type"] is delta["type"] and alone["norm"] is delta["norm"]
    assert replaced.generator_params(params, "disentangled") is params["generator"]
    assert replaced.generator_params(params, "none") is params["generator"]
    assert replaced.discriminator_params(params, "none") is params["discriminator"]


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("decoder", [False, True])
def test_joining_is_the_inverse_of_standing_alone(sharing, decoder):
    """With an enhanced mask decoder, the generator alone has positions."""
    emd = {"positions": "disentangled", "embedding_size": 0, "relative": {"mask_decoder": True}}
    config = make_config(sharing, model=emd if decoder else {}, objective={"generator_width": 1.0})
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(lambda: replaced.init_params(config, jax.random.key(0)))
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    alone = replaced.generator_params(params, sharing), replaced.discriminator_params(params, sharing)
    joined = replaced.join(*alone, sharing)
    assert jax.tree.structure(joined) == jax.tree.structure(params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), joined, params)
    if sharing != "disentangled":
        jax.tree.map(np.testing.assert_array_equal, joined, params)


def test_joined_tables_that_are_shared_are_the_discriminators():
    params, *_ = differentiated("shared")
    generator = jax.tree.map(lambda leaf: leaf + 1, replaced.generator_params(params, "shared"))
    joined = replaced.join(generator, params["discriminator"], "shared")
    assert joined["discriminator"] is params["discriminator"]
    expected = jax.tree.map(lambda leaf: leaf + 1, params["generator"])
    jax.tree.map(np.testing.assert_array_equal, joined["generator"], expected)


MODELS = {
    "electra": {"preset": "electra-base", "hidden_size": 12, "num_heads": 3},
    "albert": {"preset": "albert-base-v2", "hidden_size": 12, "num_heads": 3, "embedding_size": 6},
    "deberta": {"preset": "deberta-v3-xsmall", "hidden_size": 12, "num_heads": 3},
}


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("name", MODELS)
def test_both_trees_are_those_of_their_configs(name, sharing):
    """Complete, without a parameter more and with axes, whatever is shared."""
    width = 1.0 if name == "deberta" else 0.34
    raw = configs.to_dict(make_config(sharing, objective={"generator_width": width}))
    config = configs.resolve(raw | {"model": MODELS[name] | {"num_layers": 1}})
    params = jax.eval_shape(lambda: replaced.init_params(config, jax.random.key(0)))
    for part, alone, heads in (
        (generator_config(config.model, config.objective), replaced.generator_params, ("mlm",)),
        (discriminator_config(config.model), replaced.discriminator_params, ("rtd",)),
    ):
        create = functools.partial(bert.init_params, part, heads=heads)
        expected = jax.eval_shape(create, jax.random.key(0))
        found = jax.eval_shape(functools.partial(alone, sharing=sharing), params)
        assert jax.tree.map(lambda leaf: leaf.shape, found) == jax.tree.map(lambda leaf: leaf.shape, expected)
    assert jax.tree.structure(TABLE.map(lambda row: row.axes, params)) == jax.tree.structure(params)
    if name == "deberta":  # absolute positions are the mask decoder's, and only the generator has one
        assert "position" in params["generator"]["bert"]["embeddings"]
        assert "position" not in params["discriminator"]["bert"]["embeddings"]


def test_differences_start_at_zero_and_encoders_apart():
    config = make_config("disentangled", objective={"generator_width": 1.0})
    params = jax.jit(lambda: replaced.init_params(config, jax.random.key(0)))()
    tables = params["discriminator"]["bert"]["embeddings"]
    assert np.all(tables["token"] == 0) and np.all(tables["position"] == 0) and np.any(tables["type"] != 0)
    kernels = [params[part]["bert"]["encoder"]["layer_0"]["mlp_in"]["kernel"] for part in params]
    assert kernels[0].shape == kernels[1].shape and np.abs(kernels[0] - kernels[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("preset", "share", "heads", "width"),
    [("electra-small", 0.25, 1, 64), ("electra-base", 1 / 3, 4, 256), ("electra-large", 0.25, 4, 256)],
)
def test_the_generators_of_electra(preset, share, heads, width):
    """Clark et al. 2020, table 6; base and large were released."""
    objective = configs.ObjectiveConfig(name="rtd", generator_width=share)
    found = generator_config(PRESETS[preset], objective)
    assert (found.num_heads, found.hidden_size, found.mlp_size) == (heads, width, 4 * width)
    assert found.embedding_size == PRESETS[preset].embedding_width
    released = PRESETS[preset + "-generator"]
    if preset != "electra-small":
        assert found == dataclasses.replace(released, preset=preset)
    unshared = dataclasses.replace(objective, embedding_sharing="none")
    assert generator_config(PRESETS[preset], unshared).embedding_size == 0


def test_the_generator_of_deberta_v3_has_half_the_layers():
    objective = configs.ObjectiveConfig(
        name="rtd", generator_width=1.0, generator_depth=0.5, embedding_sharing="disentangled"
    )
    model = PRESETS["deberta-v3-base"]
    assert generator_config(model, objective) == dataclasses.replace(model, num_layers=6)


def test_a_generator_has_at_least_a_head_and_a_layer():
    objective = configs.ObjectiveConfig(name="rtd", generator_width=0.01, generator_depth=0.01)
    found = generator_config(PRESETS["bert-base"], objective)
    assert (found.num_heads, found.hidden_size, found.num_layers, found.pooler) == (1, 64, 1, "none")


# ---------------------------------------------------------------------------------------------
# What is drawn and where it is written
# ---------------------------------------------------------------------------------------------


def draws(logits_BMV, ids, *, seed=0, temperature=1.0):
    key = jax.random.key(seed, impl="threefry2x32")
    return np.asarray(replaced.draw(jnp.asarray(logits_BMV), key, jnp.asarray(ids), temperature=temperature))


def test_tokens_are_drawn_as_often_as_the_softmax_says():
    logits_V = np.array([1.0, -0.5, 0.0, 2.0, -30.0], np.float32)
    rows, slots = 400, 50
    for temperature in (1.0, 0.5):
        logits_BMV = np.broadcast_to(logits_V, (rows, slots, 5))
        found = draws(logits_BMV, np.arange(rows, dtype=np.uint32), temperature=temperature)
        share_V = np.bincount(found.ravel(), minlength=5) / found.size
        expected_V = _softmax(logits_V / temperature)
        sigma_V = np.sqrt(expected_V * (1 - expected_V) / found.size)
        assert np.all(np.abs(share_V - expected_V) <= 4 * sigma_V + 1e-9)


def test_a_draw_belongs_to_the_step_and_the_example():
    """Not to the row's place, nor to the rows beside it."""
    logits_BMV = np.zeros((6, 4, 1000), np.float32)
    ids = np.arange(10, 16, dtype=np.uint32)
    found = draws(logits_BMV, ids)
    np.testing.assert_array_equal(draws(logits_BMV, ids[::-1]), found[::-1])
    np.testing.assert_array_equal(draws(logits_BMV[:2], ids[2:4]), found[2:4])
    assert len(np.unique(found)) > 20  # rows and slots draw for themselves
    assert np.mean(draws(logits_BMV, ids, seed=1) == found) < 0.2


def test_draws_are_written_into_slots_in_use_and_labelled():
    batch = {
        "tokens_BL": np.array([[101, 4, 4, 9, 7, 102], [101, 5, 6, 102, 0, 0]]),
        # Shown as [MASK] (id 4), as itself (7) and as a random entry (9); the second row has one slot in use.
        "mlm_positions_BM": np.array([[1, 2, 3, 4], [2, 0, 0, 0]]),
        "mlm_targets_BM": np.array([[50, 51, 52, 7], [6, 101, 101, 0]]),
        "mlm_weights_BM": np.array([[1, 1, 1, 1], [1, 0, 0, 0]], np.float32),
    }
    drawn_BM = jnp.array([[50, 60, 9, 70], [61, 33, 34, 35]])
    tokens_BL, replaced_BL = replaced.replace(batch, drawn_BM)
    np.testing.assert_array_equal(tokens_BL, [[101, 50, 60, 9, 70, 102], [101, 5, 61, 102, 0, 0]])
    # 50 is the text's own; 9 was shown, but the text has 52.
    np.testing.assert_array_equal(replaced_BL, [[0, 0, 1, 1, 1, 0], [0, 0, 1, 0, 0, 0]])


def test_dropout_and_the_draw_have_keys_of_their_own(monkeypatch):
    config = make_config()
    batch = make_batch(config)
    keys = []

    class Recorder:
        def __init__(self, *arguments):
            pass

        def apply(self, variables, batch, dropout_key):
            keys.append(dropout_key)
            return bert.Output(
                (), {}, None, mlm_logits_BMV=jnp.zeros((3, 3, 23)), rtd_logits_BL=jnp.zeros((3, 9))
            )

    def record(logits_BMV, key, example_ids_B, *, temperature):
        keys.append(key)
        return jnp.zeros((3, 3), jnp.int32)

    monkeypatch.setattr(replaced, "BertWithHeads", Recorder)
    monkeypatch.setattr(replaced, "draw", record)
    params = {part: {"bert": {}} for part in ("generator", "discriminator")}
    step_key = jax.random.key(7, impl="threefry2x32")
    replaced.forward(config, params, batch, step_key)
    found = {tuple(np.asarray(jax.random.key_data(key))) for key in [step_key, *keys]}
    assert len(found) == 4
    keys.clear()
    replaced.forward(config, params, batch, None)
    assert keys[0] is None and keys[2] is None and keys[1] is not None
