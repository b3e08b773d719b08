"""Configurations by the keys of their options, for tests: `norm__eps` is norm.eps."""

from __future__ import annotations

from typing import Any

from bert_jax.config.model import ModelConfig
from bert_jax.config.options import replaced


def changed(config: ModelConfig, **fields: Any) -> ModelConfig:
    return replaced(config, {name.replace("__", "."): value for name, value in fields.items()})


def model(**fields: Any) -> ModelConfig:
    return changed(ModelConfig(), **fields)
