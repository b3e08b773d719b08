"""By what a teacher is known."""

import dataclasses
import types
from pathlib import Path

import numpy as np

from bert_jax.config.model import ModelConfig, NormConfig
from bert_jax.tasks import teachers

CONFIG = ModelConfig(num_layers=2, norm=NormConfig(eps=1e-5))


def digest(config=CONFIG, values=(1.0, 2.0)):
    params = {"bert": {"embeddings": {"token": np.asarray(values, np.float32)}}}
    return teachers.digest(teachers.Found(Path("T"), types.SimpleNamespace(config=config, params=params)))


def test_its_digest_is_of_its_architecture_and_parameters():
    assert digest(dataclasses.replace(CONFIG, num_layers=3)) != digest()
    assert digest(dataclasses.replace(CONFIG, norm=NormConfig(eps=1e-6))) != digest()
    assert digest(values=(1.0, 2.5)) != digest()


def test_how_it_is_run_leaves_its_digest():
    assert digest(dataclasses.replace(CONFIG, layers="scan", dtype="bfloat16", dropout_rate=0.3)) == digest()


def test_an_option_of_a_later_version_leaves_its_digest(monkeypatch):
    before = digest()

    @dataclasses.dataclass(frozen=True)
    class Later(ModelConfig):
        another: int = 0

    monkeypatch.setattr(teachers, "ModelConfig", Later)
    fields = {field.name: getattr(CONFIG, field.name) for field in dataclasses.fields(CONFIG)}
    assert digest(Later(**fields)) == before
    assert digest(Later(**fields, another=1)) != before
