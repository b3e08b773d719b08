"""What an experiment states, and the frozen dataclasses that it is resolved to."""

from bert_jax.config.loading import base, describe, differences, known_keys, load, resolve, to_dict
from bert_jax.config.model import ModelConfig
from bert_jax.config.rules import validate
from bert_jax.config.schema import (
    CheckpointConfig,
    CleaningConfig,
    DataConfig,
    LogConfig,
    MaskingConfig,
    ObjectiveConfig,
    OptimConfig,
    ParallelConfig,
    PhaseConfig,
    PretrainConfig,
    RunConfig,
    TokenizerConfig,
    TrainConfig,
)

__all__ = [
    "CheckpointConfig",
    "CleaningConfig",
    "DataConfig",
    "LogConfig",
    "MaskingConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimConfig",
    "ParallelConfig",
    "PhaseConfig",
    "PretrainConfig",
    "RunConfig",
    "TokenizerConfig",
    "TrainConfig",
    "base",
    "describe",
    "differences",
    "known_keys",
    "load",
    "resolve",
    "to_dict",
    "validate",
]
