"""The encoder's input: tokens, positions and segment types embedded and summed."""

from __future__ import annotations

import flax.linen as nn
import jax

from bert_jax.config.model import ModelConfig
from bert_jax.models.declare import declare, rows_below
from bert_jax.models.layers import dense, dropout, layer_norm

Array = jax.Array


class Embeddings(nn.Module):
    """Sum of token, position and segment-type embeddings, LayerNorm, dropout (Devlin et al. 2019, section 3,
    figure 2); with `embedding_size` all of it has width E and is projected to D (Lan et al. 2020, section 3.1).

    Disentangled attention has relative positions: then no absolute ones are added here, and the table is there for
    the enhanced mask decoder alone (He et al. 2021a, section 3.2).
    """

    config: ModelConfig

    def setup(self) -> None:
        self.tables = declare(self, rows_below("bert/embeddings", self.config), config=self.config)

    @property
    def token_VE(self) -> Array:
        """The token table, which the MLM head reads too."""
        return self.tables["token"]

    def __call__(
        self, tokens_BL: Array, type_ids_BL: Array, *, positions_BL: Array, keys_B: Array | None
    ) -> Array:
        """The encoder's input [B, L, D]. keys_B: dropout keys, or None for no dropout."""
        config = self.config
        x_BLE = self.token_VE[tokens_BL]
        if config.attention == "absolute":
            x_BLE = x_BLE + self.positions(positions_BL)
        if config.type_vocab_size == 1:  # RoBERTa: every token is of the one type
            x_BLE = x_BLE + self.tables["type"][0][None, None]
        elif config.type_vocab_size:
            x_BLE = x_BLE + self.tables["type"][type_ids_BL]
        x_BLE = layer_norm(self.tables["norm"], x_BLE, eps=config.layer_norm_eps).astype(config.dtype)
        x_BLE = dropout(x_BLE, config.dropout_rate, keys_B)
        return dense(self.tables["projection"], x_BLE) if config.embedding_size else x_BLE

    def positions(self, positions_BL: Array) -> Array:
        """The absolute position embeddings [B, L, E]."""
        return self.tables["position"][positions_BL + self.config.position_offset]
