"""Learning rates of their own for parts of the parameters."""

import jax
import pytest

from bert_jax import config as configs
from bert_jax.errors import ConfigError
from bert_jax.models.bert import init_params
from bert_jax.models.parameters import path_name
from bert_jax.training.rates import rate_factors


def make_config(**fields):
    return configs.resolve({"model": {"preset": "bert-tiny"}, "optim": fields})


def _factors(**fields):
    config = make_config(**fields)
    params = jax.eval_shape(lambda: init_params(config.model, jax.random.key(0)))
    factors = rate_factors(params, config.optim)
    return {path_name(path): factor for path, factor in jax.tree_util.tree_leaves_with_path(factors)}


def test_layer_decay_halves_the_rate_of_each_layer_below():
    factors = _factors(layer_decay=0.5)  # bert-tiny has two layers
    assert factors["mlm_head/dense/kernel"] == factors["bert/pooler/dense/kernel"] == 1.0
    assert factors["bert/encoder/layer_1/mlp_in/kernel"] == 0.5
    assert factors["bert/encoder/layer_0/attention/query/bias"] == 0.25
    assert factors["bert/embeddings/token"] == factors["bert/embeddings/norm/scale"] == 0.125


def test_explicit_rates_go_by_the_first_pattern_that_is_found():
    factors = _factors(learning_rate=4e-5, rates=("layer_0/=1e-5", "encoder/=2e-5"))
    assert factors["bert/encoder/layer_0/mlp_in/kernel"] == pytest.approx(0.25)
    assert factors["bert/encoder/layer_1/mlp_in/kernel"] == pytest.approx(0.5)
    assert factors["bert/embeddings/token"] == 1.0


def test_a_pattern_that_no_parameter_has_is_refused():
    with pytest.raises(ConfigError, match=r"optim\.rates=layer_9/=1e-5.*bert/"):
        _factors(rates=("layer_9/=1e-5",))


@pytest.mark.parametrize(
    ("rate", "rule"), [("layer_0/", "PATTERN=RATE"), ("layer_(=1e-5", "regular expression")]
)
def test_a_rate_that_does_not_parse_is_refused(rate, rule):
    with pytest.raises(ConfigError, match=rule):
        make_config(rates=(rate,))
