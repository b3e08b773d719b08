"""Configurations that versions before option groups saved."""

import json

import pytest

from bert_jax import config as configs
from bert_jax.config import older
from bert_jax.config.loading import RENAMED
from bert_jax.config.options import value_at, walk
from bert_jax.config.presets import PRESETS
from bert_jax.errors import ConfigError

VALUES = {
    "attention": "disentangled", "layer_norm_eps": 1e-7, "relative_span": 64, "relative_buckets": 32,
    "relative_terms": ["c2p"], "relative_projections": "shared", "relative_norm": True, "key_bias": False,
    "convolution": 3, "enhanced_mask_decoder": True,
}  # fmt: skip


def test_every_field_that_moved_is_found_where_it_is_now():
    assert VALUES.keys() == older.MOVED.keys()
    config = configs.resolve(
        older.current(
            {"data": {"sentence_objective": "none"}, "model": {"preset": "deberta-v3-small", **VALUES}}
        )
    )
    for old, new in older.MOVED.items():
        expected = tuple(VALUES[old]) if isinstance(VALUES[old], list) else VALUES[old]
        assert value_at(config.model, new) == expected, new
    assert config.model.num_layers == PRESETS["deberta-v3-small"].num_layers


def test_a_configuration_of_now_stays_as_it_is():
    saved = json.loads(
        json.dumps(
            configs.to_dict(
                configs.resolve({"data": {"sentence_objective": "none"}, "model": {"preset": "neobert"}})
            )
        )
    )
    assert older.current(saved) == saved
    assert older.current({"task": {}}) == {"task": {}}


@pytest.mark.parametrize("old", older.MOVED)
def test_the_old_key_says_its_new_place(old):
    assert RENAMED[f"model.{old}"] == f"config.model.{older.MOVED[old]}"
    assert older.MOVED[old] in {key for key, _, _ in walk(PRESETS["bert-base"])}
    raw = configs.base().to_dict()
    raw["model"][old] = VALUES[old]
    with pytest.raises(ConfigError, match=f"config.model.{old} is no longer an option: it is config.model"):
        configs.resolve(raw)


@pytest.mark.parametrize(("old", "new"), [(True, "full"), (False, "none")])
def test_recomputing_was_a_yes_or_no(old, new):
    assert older.current_model({"remat": old}) == {"remat": new}
