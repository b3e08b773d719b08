"""The pooler, and the heads for masked tokens, sentence pairs and replaced tokens."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.config.model import ModelConfig
from bert_jax.models.declare import declare, rows_below
from bert_jax.models.layers import ACTIVATIONS, dense, layer_norm

Array = jax.Array


def gather(x_BLD: Array, positions_BM: Array) -> Array:
    """The hidden states at `positions_BM`: [B, M, D]."""
    return jnp.take_along_axis(x_BLD, positions_BM[..., None], axis=1)


class Pooler(nn.Module):
    """f(W h) of an example's [CLS] state: tanh in BERT (Devlin et al. 2019, section 4.1; the released code),
    GELU in DeBERTa (the released code's ContextPooler)."""

    config: ModelConfig

    @nn.compact
    def __call__(self, first_BPD: Array) -> Array:
        params = declare(self, rows_below("bert/pooler", self.config), config=self.config)
        x_BPD = dense(params["dense"], first_BPD)
        return jnp.tanh(x_BPD) if self.config.pooler == "tanh" else ACTIVATIONS[self.config.pooler](x_BPD)


class MlmHead(nn.Module):
    """dense, activation, LayerNorm, then the embedding table as output projection, plus a bias.

    Given only the masked positions: at 15 % this saves 18 % of BERT-base's FLOPs and the [B, L, V]
    logits. Logits are float32.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, hidden_BMD: Array, embedding_VE: Array) -> Array:
        config = self.config
        params = declare(self, rows_below("mlm_head", config), config=config)
        x_BME = ACTIVATIONS[config.activation](dense(params["dense"], hidden_BMD))
        x_BME = layer_norm(params["layer_norm"], x_BME, eps=config.layer_norm_eps)
        logits_BMV = jnp.einsum(
            "BME,VE->BMV", x_BME, embedding_VE.astype(x_BME.dtype), preferred_element_type=jnp.float32
        )
        return logits_BMV + params["bias"][None, None]


class PairHead(nn.Module):
    """Two-way classifier on the pooled state: NSP (label 1: random B) or SOP (label 1: swapped)."""

    config: ModelConfig

    @nn.compact
    def __call__(self, pooled_BPD: Array) -> Array:
        params = declare(self, rows_below("pair_head", self.config), config=self.config)
        return dense(params["dense"], pooled_BPD).astype(jnp.float32)


class RtdHead(nn.Module):
    """Replaced-token detection: one logit a token, positive for "replaced" (Clark et al. 2020, section 3.1;
    the hidden layer is the released code's)."""

    config: ModelConfig

    @nn.compact
    def __call__(self, hidden_BLD: Array) -> Array:
        params = declare(self, rows_below("rtd_head", self.config), config=self.config)
        x_BLD = ACTIVATIONS[self.config.activation](dense(params["dense"], hidden_BLD))
        x_BL1 = dense(params["output"], x_BLD)
        return x_BL1[..., 0].astype(jnp.float32)
