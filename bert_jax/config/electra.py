"""The architectures of replaced-token detection's two encoders, from the one that a config names.

Imports nothing heavy, so that a config can be validated without jax.
"""

from __future__ import annotations

import dataclasses

from bert_jax.config.model import ModelConfig
from bert_jax.config.options import replaced
from bert_jax.config.pretrain import ObjectiveConfig


def generator_config(model: ModelConfig, objective: ObjectiveConfig) -> ModelConfig:
    """The small masked language model that fills the masks (Clark et al. 2020, section 3.2).

    Heads keep their width, so hidden size and MLP shrink by as much as the number of heads does: by
    `generator_width` to the nearest head. Tables that are shared keep theirs and are projected.
    """
    heads = max(1, round(model.num_heads * objective.generator_width))
    width = heads * model.head_dim
    tables = model.embedding_width if objective.embedding_sharing != "none" else width
    return dataclasses.replace(
        model,
        hidden_size=width,
        embedding_size=0 if tables == width else tables,
        num_layers=max(1, round(model.num_layers * objective.generator_depth)),
        num_heads=heads,
        mlp_size=max(1, round(model.mlp_size * heads / model.num_heads)),
        pooler="none",
    )


def discriminator_config(model: ModelConfig) -> ModelConfig:
    """The encoder that is kept: `model` without what only a masked language model or a pair head reads."""
    return replaced(model, {"pooler": "none", "relative.mask_decoder": False})
