"""DeBERTa's parts against NumPy loops over the paper's formulas, and against Hugging Face's modules."""

import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.models import deberta, layers
from bert_jax.models.attention import attention_mask
from tests.configs import changed, model
from tests.models.oracle_deberta import delta, loops
from tests.models.variants import shapes_below

B, L, H, K, D = 2, 13, 3, 8, 24
PACK_IDS = np.array([[1] * L, [1] * 9 + [0] * 4])
REAL = PACK_IDS > 0

# Spans shorter than L, so that distances are clamped on both sides.
V1 = model(
    hidden_size=D, num_heads=H, positions="disentangled", relative__span=5, relative__key_bias=False,
    norm__eps=1e-7, relative__projections="separate",
)  # fmt: skip
V2 = changed(
    V1, family="deberta_v2", relative__span=9, relative__buckets=6, relative__projections="shared",
    relative__norm=True, relative__key_bias=True, relative__convolution=3,
)  # fmt: skip
CASES = {
    "v1": V1,
    "v2": V2,
    "v1, c2p": changed(V1, relative__terms=("c2p",)),
    "v1, p2c": changed(V1, relative__terms=("p2c",)),
    "separate, buckets, biases": changed(V2, relative__projections="separate"),
    "shared, no buckets": changed(V2, relative__buckets=0),
    "shared, p2c, no key bias": changed(V2, relative__terms=("p2c",), relative__key_bias=False),
    "v1, a span longer than the row": changed(V1, relative__span=16),
}
HUGGING_FACE = [name for name in CASES if name != "shared, p2c, no key bias"]


def filled(shapes, seed=0):
    """Parameters large enough, biases among them, for every term to show in the output."""
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(seed)
    values = [jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, values)


def inputs(config):
    rng = np.random.default_rng(1)
    x, queries, weights = (rng.normal(size=(B, L, D)).astype(np.float32) for _ in range(3))
    table = rng.normal(size=(config.relative.rows, D)).astype(np.float32)
    return types.SimpleNamespace(x=x, queries=queries, table=table, weights=weights * REAL[..., None])


@functools.partial(jax.jit, static_argnames=("config", "packed"))
def attend(config, params, x, table, pack_ids=PACK_IDS, *, queries=None, keys_B=None, packed=False):
    mask = attention_mask(jnp.asarray(pack_ids), packed=packed)
    x, table = x.astype(config.dtype), table.astype(config.dtype)
    y, internals = deberta.disentangled_attention(
        params, x, config=config, mask=mask, relative_RD=table, keys_B=keys_B, queries_BLD=queries,
        record=frozenset({"probabilities"}),
    )  # fmt: skip
    return y, internals.probabilities_BHLT


def params_of(config):
    return filled(shapes_below("bert/encoder/layer_{i}/attention", config))


@functools.cache
def attention_of(case, queries=False):
    """(output, probabilities, gradients by the parameters, the input and the table) in one program."""
    config = CASES[case]
    given = inputs(config)
    chosen = given.queries if queries else None

    def loss(params, x, table):
        y, att = attend(config, params, x, table, queries=chosen)
        return jnp.sum(y * given.weights), (y, att)

    gradients, (y, att) = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(
        params_of(config), given.x, given.table
    )
    return np.asarray(y), np.asarray(att), gradients


@pytest.mark.parametrize("case", CASES)
def test_attention_is_the_papers_formula(case):
    config, queries = CASES[case], case == "v2"
    given, params = inputs(config), params_of(config)
    query_input = given.queries if queries else given.x
    y, att, _ = attention_of(case, queries)
    expected_y, expected_att = loops(config, params, given.x, query_input, given.table, real=REAL)
    np.testing.assert_allclose(y[REAL], expected_y[REAL], atol=5e-6)
    np.testing.assert_allclose(att.swapaxes(1, 2)[REAL], expected_att.swapaxes(1, 2)[REAL], atol=2e-6)


def test_the_released_code_reads_the_distance_of_i_to_j_in_both_terms():
    given, params = inputs(V1), params_of(V1)
    as_written = loops(
        V1, params, given.x, given.x, given.table, real=REAL, row=lambda i, j, config: delta(j, i, config)
    )[0]
    assert np.abs(attention_of("v1")[0] - as_written)[REAL].max() > 0.1


def test_the_parameters_are_those_the_config_asks_for():
    names = {case: set(params_of(CASES[case])) for case in CASES}
    content = {"query", "key", "value", "output"}
    assert names["v1"] == content | {"position_key", "position_query"}
    assert names["v2"] == content
    assert names["v1, c2p"] == content | {"position_key"}
    assert names["v1, p2c"] == content | {"position_query"}
    without = {name for name, part in params_of(V1).items() if "bias" not in part}
    assert without == {"key", "position_key"}
    shapes = jax.tree.map(jnp.shape, params_of(CASES["separate, buckets, biases"]))
    assert shapes["position_key"] == shapes["key"] == {"kernel": (D, H, K), "bias": (H, K)}


def test_indices_of_distances_drawn_by_hand():
    def indices(length, config):
        return np.asarray(deberta.relative_index(length, config)).tolist()

    short = changed(V1, relative__span=2)
    assert indices(4, short) == [0, 0, 1, 2, 3, 3, 3]
    assert indices(1, short) == [2]
    # Buckets of 6: distances to 4 have an index of their own; 5 to 8 share one, and for keys behind, all that are
    # further share the last.
    ahead, behind = [0, 0, 1, 1, 1, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11, 11, 11, 11, 11, 11]
    counted = indices(11, V2)
    assert len(counted) == 21 and [delta(i, 0, V2) for i in range(11)] == counted[10:]
    assert (counted[:10], counted[10:]) == (ahead, behind)


@pytest.mark.parametrize(("buckets", "span", "length"), [(256, 512, 600), (32, 128, 140), (6, 9, 13)])
def test_indices_are_those_hugging_face_gathers(buckets, span, length):
    torch = pytest.importorskip("torch")
    modeling = pytest.importorskip("transformers.models.deberta_v2.modeling_deberta_v2")
    config = changed(V2, relative__buckets=buckets, relative__span=span)
    one = torch.zeros(1, length, 1)
    theirs = modeling.build_relative_position(one, one, bucket_size=buckets, max_position=span)[0]
    rows = torch.clamp(theirs + buckets, 0, 2 * buckets - 1).numpy()
    index = np.asarray(deberta.relative_index(length, config))
    i, j = np.indices((length, length))
    np.testing.assert_array_equal(index[i - j + length - 1], rows)


def flat(torch, leaf):
    """A kernel [D, H, K] as torch's weight [H K, D], a bias [H, K] as [H K]."""
    return torch.as_tensor(leaf).reshape(leaf.shape[0], -1).T if leaf.ndim == 3 else leaf.reshape(-1)


def names_of_v1(torch, params):
    kernels = [params[name]["kernel"] for name in ("query", "key", "value")]
    found = {
        "in_proj.weight": torch.stack(kernels, dim=2).reshape(D, 3 * D).T,
        "q_bias": flat(torch, params["query"]["bias"]),
        "v_bias": flat(torch, params["value"]["bias"]),
    }
    if "position_key" in params:
        found["pos_proj.weight"] = flat(torch, params["position_key"]["kernel"])
    if "position_query" in params:
        found["pos_q_proj.weight"] = flat(torch, params["position_query"]["kernel"])
        found["pos_q_proj.bias"] = flat(torch, params["position_query"]["bias"])
    return found


def names_of_v2(torch, params):
    names = {"query": "query_proj", "key": "key_proj", "value": "value_proj"}
    names |= {"position_key": "pos_key_proj", "position_query": "pos_query_proj"}
    kinds = {"kernel": "weight", "bias": "bias"}
    return {
        f"{names[part]}.{kinds[kind]}": flat(torch, leaf)
        for part, leaves in params.items() if part != "output" for kind, leaf in leaves.items()
    }  # fmt: skip


def hugging_face(config):
    """Hugging Face's attention module for `config`, its function of relative positions, its tensors' names."""
    shape = {"hidden_size": D, "num_attention_heads": H, "hidden_dropout_prob": 0.0}
    shape |= {"attention_probs_dropout_prob": 0.0, "relative_attention": True}
    shape |= {"pos_att_type": list(config.relative.terms), "max_relative_positions": config.relative.span}
    if config.relative.key_bias:
        from transformers import DebertaV2Config
        from transformers.models.deberta_v2 import modeling_deberta_v2 as modeling

        shared = config.relative.projections == "shared"
        buckets = config.relative.buckets or -1
        module = modeling.DisentangledSelfAttention(
            DebertaV2Config(**shape, share_att_key=shared, position_buckets=buckets)
        )
        place = functools.partial(
            modeling.build_relative_position, bucket_size=buckets, max_position=config.relative.span
        )
        return module, place, names_of_v2
    from transformers import DebertaConfig
    from transformers.models.deberta import modeling_deberta as modeling

    module = modeling.DisentangledSelfAttention(DebertaConfig(**shape))
    return module, modeling.build_relative_position, names_of_v1


def assert_gradients_close(found, tensors):
    """Every leaf to 5e-6 of the largest gradient of all: that of position_key's bias is zero but for
    rounding, since it adds the same to all of a query's scores."""
    expected = jax.tree.map(lambda leaf: leaf.grad.numpy(), tensors)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=5e-6 * largest, rtol=0), found, expected)


@pytest.mark.parametrize("case", HUGGING_FACE)
def test_attention_and_its_gradients_are_hugging_faces(case):
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    config, queries = CASES[case], case == "v2"
    given = inputs(config)

    def leaf(value):
        return torch.tensor(np.asarray(value), requires_grad=True)

    params, x, table = jax.tree.map(leaf, (params_of(config), given.x, given.table))
    module, place, names = hugging_face(config)
    mask = torch.tensor(REAL[:, None, :, None] & REAL[:, None, None, :])
    context, att = torch.func.functional_call(
        module, names(torch, params), (x, mask, True),
        {
            "relative_pos": place(x, x), "rel_embeddings": table,
            "query_states": torch.tensor(given.queries) if queries else None,
        },
        strict=True,
    )  # fmt: skip
    output = params["output"]
    y = context @ output["kernel"].reshape(D, D) + output["bias"]
    (y * torch.tensor(given.weights)).sum().backward()

    found_y, found_att, gradients = attention_of(case, queries)
    np.testing.assert_allclose(found_y[REAL], y.detach().numpy()[REAL], atol=5e-6)
    expected_att = att.detach().numpy().swapaxes(1, 2)
    np.testing.assert_allclose(found_att.swapaxes(1, 2)[REAL], expected_att[REAL], atol=5e-6)
    assert_gradients_close(gradients, (params, x, table))


@pytest.mark.parametrize("case", ["v1", "v2"])
def test_packed_rows_are_each_example_alone(case):
    config = CASES[case]
    given, params = inputs(config), params_of(config)
    ids = np.array([[1] * 6 + [2] * 5 + [0] * 2])
    packed = attend(config, params, given.x[:1], given.table, ids, packed=True)[0]
    for start, stop in ((0, 6), (6, 11)):
        ones = np.ones((1, stop - start), int)
        alone = attend(config, params, given.x[:1, start:stop], given.table, ones)[0]
        np.testing.assert_allclose(packed[:, start:stop], alone, atol=2e-6)
    whole = attend(config, params, given.x[:1], given.table, np.ones_like(ids))[0]
    assert np.abs(whole - packed)[:, :11].max() > 0.1


def test_what_lies_in_padding_changes_no_real_token():
    given, params = inputs(V2), params_of(V2)
    other = np.where(REAL[..., None], given.x, 7.0).astype(np.float32)
    y, att = attend(V2, params, other, given.table)
    plain = attend(V2, params, given.x, given.table)
    np.testing.assert_array_equal(y[REAL], plain[0][REAL])
    np.testing.assert_array_equal(att[1, :, :9, 9:], 0)
    assert np.isfinite(y).all() and np.abs(y - plain[0])[~REAL].max() > 0.1


def test_probabilities_are_those_before_dropout():
    config = dataclasses.replace(V1, attention_dropout_rate=0.5)
    given, params = inputs(config), jax.tree.map(np.asarray, params_of(config))
    keys_B = layers.dropout_keys(jax.random.key(0), jnp.arange(B, dtype=jnp.uint32), 1)[:, 0]
    y, att = attend(config, params, given.x, given.table, keys_B=keys_B)
    plain_y, plain_att = attend(config, params, given.x, given.table)
    np.testing.assert_array_equal(att, plain_att)
    values = np.einsum("BLD,DHK->BLHK", given.x, params["value"]["kernel"]) + params["value"]["bias"]
    dropped = np.asarray(layers.dropout(att, 0.5, keys_B))
    y_heads = np.einsum("BHLT,BTHK,HKD->BLD", dropped, values, params["output"]["kernel"])
    np.testing.assert_allclose(y, y_heads + params["output"]["bias"], atol=1e-5)
    assert np.abs(y - plain_y).max() > 0.1


def test_skew_and_its_gradient_are_those_of_a_gather():
    rng = np.random.default_rng(2)
    x, cotangent = rng.normal(size=(2, 3, 5, 10)), rng.normal(size=(2, 3, 5, 5))
    i, j = np.indices((5, 5))

    def gather(x):
        return jnp.take_along_axis(x, jnp.asarray(j - i + 4)[None, None], axis=-1)

    (y, pull), (expected, expected_pull) = (
        jax.vjp(f, jnp.asarray(x, jnp.float32)) for f in (deberta.skew, gather)
    )
    np.testing.assert_array_equal(y, expected)
    gradient, *_ = pull(jnp.asarray(cotangent, jnp.float32))
    np.testing.assert_array_equal(gradient, expected_pull(jnp.asarray(cotangent, jnp.float32))[0])
    np.testing.assert_array_equal(gradient[..., -1], 0)  # the column that pads the distances


@pytest.mark.parametrize("case", ["v1", "v2"])
def test_bfloat16_stays_near_float32(case):
    config = dataclasses.replace(CASES[case], dtype="bfloat16")
    given = inputs(config)
    y, att = attend(config, params_of(config), given.x, given.table)
    assert y.dtype == att.dtype == jnp.bfloat16
    plain_y, plain_att, _ = attention_of(case)
    # bfloat16's step is 2^-8, 0.4 %; measured: 0.9 % of the largest output, 0.012 of a probability.
    error = np.abs(np.asarray(y, np.float32) - plain_y)[REAL]
    assert error.max() < 0.02 * np.abs(plain_y).max()
    assert np.abs(np.asarray(att, np.float32) - plain_att).max() < 0.03


@pytest.mark.parametrize("norm", [False, True])
def test_the_relative_table_is_a_parameter_through_layer_norm_where_asked(norm):
    config = changed(V2, relative__norm=norm, dtype="bfloat16")
    params = filled(shapes_below("bert/encoder/relative", config))
    rows = np.asarray(params["table"], np.float64)
    assert rows.shape == (12, D) and set(params) == ({"table", "norm"} if norm else {"table"})
    if norm:
        rows = layer_norm(rows, params["norm"])
    y = deberta.relative_table(params, config=config)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float64), rows, rtol=2**-7, atol=2**-8)


def layer_norm(x, params):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-7)
    return scaled * np.asarray(params["scale"]) + np.asarray(params["bias"])


def convolution_params(config):
    return filled(shapes_below("bert/encoder/convolution", config))


@functools.partial(jax.jit, static_argnames="config")
def convolve(config, params, x, layer, pack_ids=PACK_IDS, keys_B=None):
    return deberta.convolution(
        params, x, config=config, layer_BLD=layer, pack_ids_BL=jnp.asarray(pack_ids), keys_B=keys_B
    )


@pytest.mark.parametrize("taps", [3, 5])
def test_the_convolution_and_its_gradients_are_hugging_faces(taps):
    torch = pytest.importorskip("torch")
    modeling = pytest.importorskip("transformers.models.deberta_v2.modeling_deberta_v2")
    from transformers import DebertaV2Config

    config = changed(V2, relative__convolution=taps)
    given, params = inputs(config), convolution_params(config)

    def loss(params, x, layer):
        y = convolve(config, params, x, layer)
        return jnp.sum(y * given.weights), y

    gradients, y = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(params, given.x, given.queries)

    module = modeling.ConvLayer(
        DebertaV2Config(
            hidden_size=D,
            conv_kernel_size=taps,
            conv_act="gelu",
            hidden_dropout_prob=0.0,
            norm__eps=1e-7,
        )
    )
    theirs = jax.tree.map(
        lambda value: torch.tensor(np.asarray(value), requires_grad=True), (params, given.x, given.queries)
    )
    own, x, layer = theirs
    names = {"conv.weight": own["kernel"].permute(2, 1, 0), "conv.bias": own["bias"]}
    names |= {"LayerNorm.weight": own["norm"]["scale"], "LayerNorm.bias": own["norm"]["bias"]}
    mask = torch.tensor(REAL, dtype=torch.long)
    # Their embeddings are zero at padding.
    expected = torch.func.functional_call(module, names, (x * mask[..., None], layer, mask), strict=True)
    (expected * torch.tensor(given.weights)).sum().backward()
    np.testing.assert_allclose(np.asarray(y)[REAL], expected.detach().numpy()[REAL], atol=5e-6)
    assert_gradients_close(gradients, theirs)


def test_a_convolution_keeps_to_each_example_and_drops_out_before_the_activation():
    config = changed(V2, relative__convolution=5, dropout_rate=0.5)
    given, params = inputs(config), convolution_params(config)
    ids = np.array([[1] * 4 + [2] * 7 + [0] * 2, [3] + [1] * 12])
    keys_B = layers.dropout_keys(jax.random.key(0), jnp.arange(B, dtype=jnp.uint32), 1)[:, 0]
    convolved = np.zeros((B, L, D)) + np.asarray(params["bias"], np.float64)
    for b, i, tap in np.ndindex(B, L, 5):
        near = i + tap - 2
        if 0 <= near < L and ids[b, near] == ids[b, i] > 0:
            convolved[b, i] += given.x[b, near] @ np.asarray(params["kernel"][tap], np.float64)
    for keys in (None, keys_B):
        dropped = np.asarray(layers.dropout(jnp.asarray(convolved, jnp.float32), 0.5, keys), np.float64)
        expected = layer_norm(given.queries + np.asarray(layers.gelu(dropped)), params["norm"])
        y = convolve(config, params, given.x, given.queries, ids, keys)
        np.testing.assert_allclose(np.asarray(y)[ids > 0], expected[ids > 0], atol=5e-6)
        assert np.isfinite(y).all()
