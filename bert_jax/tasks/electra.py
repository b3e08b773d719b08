"""Replaced-token detection: ELECTRA's generator and discriminator, and DeBERTa-v3's way to share their embeddings."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import jax

from bert_jax.config import ModelConfig, PretrainConfig
from bert_jax.config.electra import discriminator_config, generator_config
from bert_jax.models import electra
from bert_jax.models.flops import training_flops
from bert_jax.objectives.electra import replaced_token_detection
from bert_jax.objectives.sums import Objective
from bert_jax.tasks.pretraining import Pretraining
from bert_jax.training.task import Params

DISCRIMINATOR, GENERATOR = "discriminator", "generator"


class ReplacedTokenDetection(Pretraining):
    """Two encoders: a small one fills the masks, and the one to keep tells which tokens it replaced."""

    @property
    def objective(self) -> Objective:
        forward, objective = functools.partial(electra.forward, self.config), self.config.objective
        return replaced_token_detection(forward, weight=objective.rtd_weight, z_loss=objective.z_loss)

    def init(self, key: jax.Array) -> Params:
        return electra.init_params(self.config, key)

    @property
    def encoders(self) -> Mapping[str, ModelConfig]:
        return {
            DISCRIMINATOR: discriminator_config(self.config.model),
            GENERATOR: generator_config(self.config.model, self.config.objective),
        }

    def apart(self, params: Params) -> dict[str, Params]:
        sharing = self.config.objective.embedding_sharing
        return {
            DISCRIMINATOR: electra.discriminator_params(params, sharing),
            GENERATOR: electra.generator_params(params, sharing),
        }

    def together(self, trees: Mapping[str, Params]) -> Params:
        sharing = self.config.objective.embedding_sharing
        return electra.join(trees[GENERATOR], trees[DISCRIMINATOR], sharing)

    def row_flops(self, config: PretrainConfig) -> float:
        heads = {DISCRIMINATOR: "rtd", GENERATOR: "mlm"}
        length, slots = config.data.sequence_length, config.masking.max_predictions
        return math.fsum(
            training_flops(model, length=length, slots=slots, heads=(heads[name],))
            for name, model in self.encoders.items()
        )
