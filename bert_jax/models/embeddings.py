"""The encoder's input: tokens, positions and segment types embedded and summed."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.config.model import ModelConfig
from bert_jax.models.declare import declare, rows_below
from bert_jax.models.layers import dense, dropout, norm

Array = jax.Array


class Embeddings(nn.Module):
    """Sum of token, position and segment-type embeddings, LayerNorm, dropout (Devlin et al. 2019, section 3,
    figure 2); with `embedding_size` all of it has width E and is projected to D (Lan et al. 2020, section 3.1).

    Rotary positions, ALiBi and disentangled attention act inside the layers: then none are added here, and a table of
    positions is there for the enhanced mask decoder alone (He et al. 2021a, section 3.2).
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
        if config.positions in ("absolute", "sinusoidal"):
            x_BLE = x_BLE + self.positions(positions_BL)
        if config.type_vocab_size == 1:  # RoBERTa: every token is of the one type
            x_BLE = x_BLE + self.tables["type"][0][None, None]
        elif config.type_vocab_size:
            x_BLE = x_BLE + self.tables["type"][type_ids_BL]
        if config.norm.embeddings:
            x_BLE = norm(self.tables["norm"], x_BLE, config=config.norm)
        x_BLE = dropout(x_BLE.astype(config.dtype), config.dropout("embeddings"), keys_B)
        return dense(self.tables["projection"], x_BLE) if config.embedding_size else x_BLE

    def positions(self, positions_BL: Array) -> Array:
        """The absolute position embeddings [B, L, E]."""
        if self.config.positions == "sinusoidal":
            waves_BLE = sinusoids(positions_BL, width=self.config.embedding_width)
            return self.tables["position_scale"][None, None] * waves_BLE
        return self.tables["position"][positions_BL + self.config.position_offset]


def sinusoids(positions_BL: Array, *, width: int) -> Array:
    """Sine and cosine in turn of p / 10000^(2 i / width) (Vaswani et al. 2017, section 3.5): float32 [B, L, width]."""
    rates = 10_000.0 ** -(jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angles = positions_BL.astype(jnp.float32)[..., None] * rates[None, None]
    waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return waves.reshape(*positions_BL.shape, -1)[..., :width]
