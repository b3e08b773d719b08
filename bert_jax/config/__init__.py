"""What an experiment states, and the frozen dataclasses that it is resolved to."""

from bert_jax.config.distil import DistilConfig, DistilFinetuneConfig, DistilPretrainConfig, DistilRun
from bert_jax.config.finetune import FinetuneConfig
from bert_jax.config.head import HeadConfig
from bert_jax.config.loading import (
    COMMANDS,
    base,
    check_command,
    describe,
    differences,
    known_keys,
    load,
    resolve,
    to_dict,
    validate,
    with_values,
)
from bert_jax.config.model import ModelConfig
from bert_jax.config.pretrain import (
    CleaningConfig,
    DataConfig,
    MaskingConfig,
    ObjectiveConfig,
    PretrainConfig,
    TokenizerConfig,
)
from bert_jax.config.run import (
    CheckpointConfig,
    LogConfig,
    OptimConfig,
    ParallelConfig,
    PhaseConfig,
    RunConfig,
    TrainConfig,
)

__all__ = [
    "COMMANDS",
    "CheckpointConfig",
    "CleaningConfig",
    "DataConfig",
    "DistilConfig",
    "DistilFinetuneConfig",
    "DistilPretrainConfig",
    "DistilRun",
    "FinetuneConfig",
    "HeadConfig",
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
    "check_command",
    "describe",
    "differences",
    "known_keys",
    "load",
    "resolve",
    "to_dict",
    "validate",
    "with_values",
]
