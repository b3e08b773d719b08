"""What is measured of the training step."""

import dataclasses

import pytest

from bert_jax.benchmarks import step
from bert_jax.errors import ConfigError
from bert_jax.training.trainer import Trainer


def test_speed_utilisation_and_compilation_are_of_the_configured_batch(prepared):
    values = step.measure(prepared, seconds=0.2, repeats=1)
    assert values["batch"] == [8, 32]
    assert values["sequences_per_s"] == pytest.approx(8 * 1000 / values["step_ms"])
    assert values["tokens_per_s"] == pytest.approx(32 * values["sequences_per_s"])
    assert 0 < values["mfu"] < 1
    assert values["compile_s"] > 0


def test_what_the_baseline_lacks_is_said_before_the_step_is_compiled(prepared, monkeypatch):
    monkeypatch.setattr(Trainer, "of", lambda task, config: pytest.fail("it was assembled"))
    config = dataclasses.replace(prepared, data=dataclasses.replace(prepared.data, packing=2))
    with pytest.raises(ConfigError, match="packing=2"):
        step.measure(config, seconds=0.1, repeats=1, baseline="hf")
