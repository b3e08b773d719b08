"""A workdir's config.json: its format, those of older versions, and what another run may not change."""

import dataclasses
import json
from pathlib import Path

import pytest

from bert_jax import config as configs
from bert_jax.config import LogConfig, PhaseConfig
from bert_jax.errors import ConfigError, UserError
from bert_jax.training import workdir as workdirs

CONFIG = configs.resolve({"model": {"preset": "bert-tiny"}, "data": {"sequence_length": 128}})


def claimed(path, config=CONFIG, identity=None):
    with workdirs.claim(path, config, identity=identity or {"corpus": "abc"}):
        return json.loads((path / "config.json").read_text())


def first_format(**data):
    """What the versions before wrote: no format, no identity, two row lengths as options of the data."""
    raw = json.loads(json.dumps(configs.to_dict(CONFIG)))
    for group in ("phases", "log"):
        raw.pop(group)
    raw["data"] |= {"first_length": 0, "first_share": 0.9} | data
    return {"config": raw, "corpus": "abc", "init": None}


def test_what_is_written_is_read_and_carries_its_format(tmp_path):
    assert claimed(tmp_path)["format"] == workdirs.FORMAT == 3
    assert workdirs.is_workdir(tmp_path)
    assert workdirs.read(tmp_path) == workdirs.Saved(config=CONFIG, identity={"corpus": "abc"})


def test_the_first_format_is_read_and_resumed(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(first_format()))
    assert workdirs.is_workdir(tmp_path)
    assert workdirs.read(tmp_path) == workdirs.Saved(config=CONFIG, identity={"corpus": "abc"})
    assert claimed(tmp_path)["format"] == 3


def test_two_lengths_of_the_first_format_are_phases(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(first_format(first_length=64, first_share=0.7)))
    parts = (PhaseConfig(share=0.7, sequence_length=64), PhaseConfig(share=0.3))
    assert workdirs.read(tmp_path).config == dataclasses.replace(CONFIG, phases=parts)


def test_the_second_format_had_flat_options_of_the_model(tmp_path):
    raw = json.loads(json.dumps(configs.to_dict(CONFIG)))
    raw["model"] = {name: value for name, value in raw["model"].items() if not isinstance(value, dict)}
    raw["model"] |= {"attention": raw["model"].pop("positions"), "layer_norm_eps": CONFIG.model.norm.eps}
    saved = {"format": 2, "config": raw, "identity": {"corpus": "abc"}, "init": []}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert workdirs.read(tmp_path) == workdirs.Saved(config=CONFIG, identity={"corpus": "abc"})
    assert claimed(tmp_path)["format"] == 3


def test_a_later_format_is_refused_with_both_numbers(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**first_format(), "format": 9, "identity": {}}))
    with pytest.raises(UserError, match=r"config.json: format=9 must be at most 3"):
        workdirs.read(tmp_path)


def test_another_config_or_corpus_is_refused_by_value_and_a_sink_is_free(tmp_path):
    claimed(tmp_path)
    claimed(tmp_path, dataclasses.replace(CONFIG, log=LogConfig(sinks=())))
    other = dataclasses.replace(CONFIG, seed=3)
    with pytest.raises(ConfigError) as refused:
        claimed(tmp_path, other, {"corpus": "def", "teacher": "x"})
    assert "config.seed: 3 now, 0 there" in str(refused.value)
    assert "corpus: def now, abc there" in str(refused.value)
    assert "teacher: x now, None there" in str(refused.value)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and has no config.json"):
        claimed(tmp_path)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["notes.txt"]


def test_a_folder_whose_first_claim_was_killed_can_be_claimed(tmp_path):
    (tmp_path / ".config.json.host-7.partial").write_text('{"form')
    claimed(tmp_path)
    assert workdirs.read(tmp_path).identity == {"corpus": "abc"}
