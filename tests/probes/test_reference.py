"""Which rows a run is scored on."""

import json

import pytest

from bert_jax import config as configs
from bert_jax.errors import ConfigError, UserError
from bert_jax.probes import reference


def make(**groups):
    raw = {
        "data": {"path": "books", "sequence_length": 64, "sentence_objective": "none"},
        "tokenizer": {"vocab_size": 1000},
        "model": {"preset": "bert-tiny"},
    }
    for group, values in groups.items():
        raw[group] = raw.get(group, {}) | values if isinstance(values, dict) else values
    return configs.resolve(raw)


REFERENCE = make(
    data={"sentence_objective": "sop", "boundaries": "whole", "path": "elsewhere", "eval_fraction": 0.01},
    masking={"rate": 0.2},
)
CONFIGS = [
    make(),
    make(model={"pooler": "none", "type_vocab_size": 0}, masking={"unit": "span"}, train={"batch_size": 8}),
    make(
        objective={"name": "rtd"}, data={"format": "full_sentences", "packing": 4}, optim={"warmup_steps": 9}
    ),
    make(
        phases=({"share": 0.5, "sequence_length": 16}, {"share": 0.5}),
        data={
            "quirks": ("short_per_document",),
            "weights": (2.0,),
            "sequence_length": 128,
        },
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_config_is_scored_on_the_reference_s_rows_of_its_own_text(config):
    rows = reference.rows_config(config, REFERENCE)
    assert rows.data.path == "books"
    assert rows.masking == REFERENCE.masking
    assert rows == reference.rows_config(make(), REFERENCE)
    assert rows.data.sentence_objective == "sop"
    assert rows.data.sequence_length == 64
    found = reference.settings(rows, corpus="abc", pairs=10)
    assert found == json.loads(json.dumps(found))
    assert found["masking"]["rate"] == 0.2
    assert "path" not in found["data"]


def test_text_and_vocabulary_are_the_run_s_own():
    config = make(tokenizer={"vocab_size": 500}, cleaning={"normalize": "nfkc"}, data={"sentences": "line"})
    rows = reference.rows_config(config, REFERENCE)
    assert (rows.tokenizer, rows.cleaning, rows.data.sentences) == (config.tokenizer, config.cleaning, "line")


def test_without_a_reference_rows_are_the_run_s_and_masks_are_bert_s():
    rows = reference.rows_config(CONFIGS[1])
    assert rows.masking == make().masking
    assert rows.data == CONFIGS[1].data


@pytest.mark.parametrize("objective", ["nsp", "sop"])
@pytest.mark.parametrize("config", CONFIGS)
def test_pairs_have_one_meaning_whatever_the_run(config, objective):
    pairs = reference.pairs_config(reference.rows_config(config, REFERENCE), objective)
    assert pairs == reference.pairs_config(reference.rows_config(make(), REFERENCE), objective)
    data = pairs.data
    assert (data.sentence_objective, data.format, data.packing) == (objective, "segment_pair", 1)
    assert (data.quirks, data.boundaries) == ((), "whole" if objective == "sop" else "cut")


def test_pairs_of_an_arm_with_quirks_and_packing():
    rows = reference.rows_config(CONFIGS[2])
    assert reference.pairs_config(rows, "sop").data.format == "segment_pair"


@pytest.mark.parametrize(
    ("config", "words", "kind"),
    [
        (make(data={"eval_fraction": 0.0}), "held no documents out", UserError),
        (make(data={"eval_fraction": 0.005}), "eval_fraction=0.01 must be > 0 and <= the run's 0.005", UserError),
        (
            make(data={"sequence_length": 32}, model={"max_positions": 32}),
            "sequence_length=64 must be <= config.model.max_positions=32",
            ConfigError,
        ),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_scored_so_is_refused(config, words, kind):
    with pytest.raises(kind, match=words):
        reference.rows_config(config, REFERENCE)
