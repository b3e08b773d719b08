"""Parameters declared from the table: names, shapes, initial values."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.models.bert import init_params
from bert_jax.models.declare import declare, rows_below
from bert_jax.models.heads import MlmHead, Pooler
from bert_jax.models.parameters import flatten
from tests.models.variants import VARIANTS, variant

CONFIG = VARIANTS["bert"]
KEY = jax.random.key(3)


class FlaxPooler(nn.Module):
    @nn.compact
    def __call__(self, x):
        kernel_init = nn.initializers.truncated_normal(CONFIG.initializer_range)
        return nn.Dense(CONFIG.hidden_size, kernel_init=kernel_init, name="dense")(x)


def test_initial_values_are_those_of_flaxs_module_at_the_same_path():
    x = jnp.ones((1, 1, CONFIG.hidden_size))
    found, expected = Pooler(CONFIG).init(KEY, x), FlaxPooler().init(KEY, x)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_scales_start_at_one_biases_at_zero_and_matrices_at_neither():
    hidden, table = jnp.ones((1, 1, CONFIG.hidden_size)), jnp.ones((CONFIG.vocab_size, CONFIG.hidden_size))
    params = flatten(MlmHead(CONFIG).init(KEY, hidden, table)["params"])
    assert set(params) == {
        "dense/kernel", "dense/bias", "layer_norm/scale", "layer_norm/bias", "bias",
    }  # fmt: skip
    assert params["bias"].shape == (50,) and {str(leaf.dtype) for leaf in params.values()} == {"float32"}
    for path, leaf in params.items():
        if path.endswith("kernel"):
            assert 0 < np.abs(leaf).max() <= 2 * CONFIG.initializer_range + 1e-6
        else:
            np.testing.assert_array_equal(leaf, float(path.endswith("scale")))


def test_only_the_rows_that_the_config_has_are_below_a_place():
    assert set(rows_below("bert/encoder/layer_{i}/attention", CONFIG)) == {"query", "key", "value", "output"}
    assert rows_below("bert/pooler", variant("bert", pooler="none")) == {}
    assert set(rows_below("bert/embeddings", VARIANTS["distilbert"])) == {"token", "position", "norm"}
    # A place is a whole name: "attention_norm" is not below "attention".
    assert set(rows_below("bert/encoder/layer_{i}/attention_norm", CONFIG)) == {"scale", "bias"}


def test_a_module_looks_up_what_it_declared():
    class Model(nn.Module):
        @nn.compact
        def __call__(self):
            return declare(self, rows_below("mlm_head", CONFIG), config=CONFIG)

    params = Model().init(KEY)["params"]
    assert flatten(params).keys() == flatten(rows_below("mlm_head", CONFIG)).keys()
    moved = jax.tree.map(lambda leaf: leaf + 1, params)
    jax.tree.map(np.testing.assert_array_equal, Model().apply({"params": moved}), moved)


def test_megatron_begins_with_less_where_the_residual_stream_is_added_to():
    config = variant("neobert", initializer="megatron", initializer_range=0.1, num_layers=2)
    wide = {path: float(np.std(leaf)) for path, leaf in flatten(init_params(config, KEY)).items()}
    usual, less = 0.1, 0.1 / 4**0.5
    layer = "bert/encoder/layer_0"
    for path, expected in {
        "bert/embeddings/token": usual, f"{layer}/attention/query/kernel": usual, f"{layer}/mlp_gated_in/kernel": usual,
        f"{layer}/attention/output/kernel": less, f"{layer}/mlp_out/kernel": less, "mlm_head/decoder": less,
    }.items():  # fmt: skip
        assert abs(wide[path] / (0.88 * expected) - 1) < 0.1, (
            path
        )  # cut at two deviations, 0.88 of one is left


def test_uniform_stays_between_its_bounds_and_a_scale_of_waves_is_that_of_the_width():
    config = variant("neobert", initializer="uniform", initializer_range=0.3)
    token = np.asarray(init_params(config, KEY)["bert"]["embeddings"]["token"])
    assert 0.29 < np.abs(token).max() <= 0.3 and abs(token.std() - 0.3 / 3**0.5) < 0.01
    [scale] = init_params(VARIANTS["crammed-bert"], KEY)["bert"]["embeddings"]["position_scale"]
    assert scale == np.float32(24**-0.5)
