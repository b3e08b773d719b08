"""A larger model of a smaller one: each axis against a loop, layers against a list, what cannot grow."""

import dataclasses

import jax
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.interop.growth import grow, layer_origin, tile_origin
from bert_jax.models import bert
from bert_jax.models.inference import fitted
from bert_jax.models.parameters import flatten
from tests.interop.small import CONFIGS, params_of

LARGER = {"hidden_size": 20, "num_heads": 5, "mlp_size": 50, "num_layers": 5}


def larger_of(config, **sizes):
    return dataclasses.replace(config, **(LARGER | sizes))


def grown(config, to):
    return grow(params_of(config), config, to=to, place="SOURCE")


def wrapped(values, to):
    """A list around whose middle copies are laid, one number after another."""
    made, before = list(values), (to - len(values)) // 2
    for number in range(before):
        made.insert(0, values[-1 - number % len(values)])
    for number in range(to - len(made)):
        made.append(values[number % len(values)])
    return made


@pytest.mark.parametrize(("size", "to"), [(3, 3), (3, 4), (3, 5), (3, 8), (2, 9), (12, 16), (768, 1024)])
def test_an_axis_is_tiled_from_its_middle(size, to):
    origin = tile_origin(size, to)
    assert origin.tolist() == wrapped(range(size), to)
    start = (to - size) // 2
    assert origin[start : start + size].tolist() == list(range(size))


def test_the_released_codes_example_of_an_axis():
    assert np.array([1, 2, 3])[tile_origin(3, 8)].tolist() == [2, 3, 1, 2, 3, 1, 2, 3]


def test_layers_of_modernbert_large_are_those_of_the_released_code():
    first = [0, 1, 2, 2, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10]
    second = [11, 12, 13, 13, 14, 15, 16, 16, 17, 18, 19, 20, 20, 21]
    assert layer_origin(22, 28) == first + second
    assert layer_origin(3, 3) == [0, 1, 2]
    assert layer_origin(1, 4) == [0] * 4
    assert max(layer_origin(2, 12)) == 1  # where rounding would name a layer that is not there


def test_heads_are_tiled_whole():
    config = CONFIGS["bert"]  # 3 heads of 4, D = 12 -> 5 heads of 4, D = 20
    source = flatten(params_of(config))
    made = flatten(grown(config, larger_of(config, num_layers=2)).params)
    heads, states = wrapped(range(3), 5), wrapped(range(12), 20)
    assert (heads, states[:5]) == ([2, 0, 1, 2, 0], [8, 9, 10, 11, 0])
    for name in ("query", "key", "value"):
        path = f"bert/encoder/layer_1/attention/{name}"
        kernel_DHK, larger_DHK = source[f"{path}/kernel"], made[f"{path}/kernel"]
        assert larger_DHK.shape == (20, 5, 4)
        for d, h, k in np.ndindex(larger_DHK.shape):
            assert larger_DHK[d, h, k] == kernel_DHK[states[d], heads[h], k]
        bias_HK, larger_HK = source[f"{path}/bias"], made[f"{path}/bias"]
        for h in range(5):
            np.testing.assert_array_equal(larger_HK[h], bias_HK[heads[h]])
    output_HKD = made["bert/encoder/layer_1/attention/output/kernel"]
    assert output_HKD[3, 2, 0] == source["bert/encoder/layer_1/attention/output/kernel"][2, 2, 8]
    token_VE = made["bert/embeddings/token"]
    np.testing.assert_array_equal(token_VE, source["bert/embeddings/token"][:, states])
    np.testing.assert_array_equal(made["mlm_head/bias"], source["mlm_head/bias"])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_grows_into_a_model_that_computes(name):
    """All parameters have the shapes of a fresh model, and no more are there. A norm that the first layer lacks, as
    ModernBERT's does, is not there to be repeated: it stays fresh in the others that are made of it."""
    config = CONFIGS[name]
    embedding = {"embedding_size": 11} if config.embedding_size else {}
    to = larger_of(config, **embedding, num_layers=2 * config.num_layers)
    found = grown(config, to)
    assert found.config == to
    _, heads = fitted(to, found.params)
    fresh = jax.eval_shape(lambda: bert.init_params(to, jax.random.key(0), heads=heads))
    shapes = {path: leaf.shape for path, leaf in flatten(fresh).items()}
    if name == "modernbert":
        assert layer_origin(4, 8)[:3] == [0, 0, 1]
        del shapes["bert/encoder/layer_1/attention_norm/scale"]
    assert {path: leaf.shape for path, leaf in flatten(found.params).items()} == shapes
    assert len(found.lines) == 4 + bool(embedding)


def test_layers_that_share_their_parameters_are_repeated_with_their_groups():
    config = dataclasses.replace(CONFIGS["albert"], num_layers=4, groups=2, sharing="ffn")
    to = dataclasses.replace(config, num_layers=6)
    source, made = flatten(params_of(config)), flatten(grown(config, to).params)
    assert layer_origin(4, 6) == [0, 1, 1, 2, 3, 3]
    for layer, origin in enumerate(layer_origin(4, 6)):
        path = "bert/encoder/layer_{}/attention/query/kernel"
        np.testing.assert_array_equal(made[path.format(layer)], source[path.format(origin)])
    for layer, origin in ((0, 0), (3, 2)):  # the first of each group holds the group's
        path = "bert/encoder/layer_{}/mlp_in/kernel"
        np.testing.assert_array_equal(made[path.format(layer)], source[path.format(origin)])
    assert sum("mlp_in/kernel" in path for path in made) == 2


def test_what_has_the_sizes_already_is_as_it_was():
    config = CONFIGS["bert"]
    found = grown(config, dataclasses.replace(config, dropout_rate=0.5, max_positions=30))
    assert (found.config, found.lines) == (config, ())  # positions are rows: `transfer` grows them
    jax.tree.map(np.testing.assert_array_equal, dict(found.params), dict(params_of(config)))


def test_a_wider_mlp_of_whole_copies_adds_up():
    """A property of tiling: each of three copies of a hidden unit adds what the one did."""
    config = CONFIGS["bert"]
    found = flatten(grown(config, dataclasses.replace(config, mlp_size=60)).params)
    source, layer = flatten(params_of(config)), "bert/encoder/layer_0/"
    states_BD = np.random.default_rng(0).standard_normal((4, 12))

    def mlp(params):
        inner_BF = np.tanh(states_BD @ params[f"{layer}mlp_in/kernel"] + params[f"{layer}mlp_in/bias"])
        return inner_BF @ params[f"{layer}mlp_out/kernel"]

    np.testing.assert_allclose(mlp(found), 3 * mlp(source), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"hidden_size": 8, "num_heads": 2}, "whose hidden_size=8 must be >= 12, num_heads=2 must be >= 3"),
        ({"num_layers": 1}, "whose num_layers=1 must be >= 2"),
        ({"hidden_size": 24}, "whose hidden_size=24 / num_heads=3 = 8 must be 4, for heads are tiled whole"),
    ],
)
def test_what_cannot_grow_is_one_line(sizes, message):
    config = CONFIGS["bert"]
    with pytest.raises(UserError) as refused:
        grown(config, dataclasses.replace(config, **sizes))
    assert str(refused.value) == f"SOURCE: does not grow into the run's model, {message}"


def test_a_projection_that_one_has_is_no_size():
    """`check_architecture` refuses it, with the option."""
    config = CONFIGS["bert"]
    found = grown(config, larger_of(config, embedding_size=8))
    assert found.config.embedding_size == 0
