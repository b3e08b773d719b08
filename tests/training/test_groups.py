"""Groups of parameters by rules, and frozen ones."""

import jax
import pytest

from bert_jax.config.presets import PRESETS
from bert_jax.errors import ConfigError
from bert_jax.models.bert import init_params
from bert_jax.models.parameters import path_name
from bert_jax.training.groups import frozen_leaves, group_labels


def tiny_params():
    return jax.eval_shape(lambda: init_params(PRESETS["bert-tiny"], jax.random.key(0)))


def labels(rules):
    tree = group_labels(tiny_params(), rules)
    return {path_name(path): label for path, label in jax.tree_util.tree_leaves_with_path(tree)}


def test_groups_come_from_kinds_and_path_patterns_and_the_first_rule_counts():
    found = labels(
        (
            (r"layer_1/", "top"),
            (lambda row: row.kind == "matrix", "muon"),
            (lambda row: True, "adam"),
        )
    )
    assert found["bert/encoder/layer_1/mlp_in/kernel"] == "top"
    assert found["bert/encoder/layer_0/mlp_in/kernel"] == "muon"
    assert found["bert/encoder/layer_0/attention/query/kernel"] == "muon"  # of three axes
    assert found["bert/embeddings/token"] == found["bert/encoder/layer_0/mlp_in/bias"] == "adam"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (((lambda row: row.kind == "matrix", "muon"),), r"parameter bert/\S+ is in no group"),
        (((lambda row: True, "all"), (r"layer_7/", "top")), r"the rule 'layer_7/' of group 'top' covers no"),
    ],
)
def test_groups_that_miss_a_parameter_or_cover_none_are_errors(rules, message):
    with pytest.raises(ValueError, match=message):
        labels(rules)


def test_frozen_patterns_must_be_found_and_leave_something():
    params = tiny_params()
    found = frozen_leaves(params, ("^bert/embeddings/",))
    assert sum(jax.tree.leaves(found)) == 5
    for patterns, message in ((("layer_9/",), "frozen='layer_9/' must be found"), ((".",), "must leave")):
        with pytest.raises(ConfigError, match=message):
            frozen_leaves(params, patterns)
