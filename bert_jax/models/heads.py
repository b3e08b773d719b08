"""The pooler, the heads for masked tokens, sentence pairs and replaced tokens, and the head of a fine-tuned task."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from bert_jax.config.head import Pooling
from bert_jax.config.model import ModelConfig
from bert_jax.models.declare import declare, rows_below
from bert_jax.models.layers import ACTIVATIONS, dense, dropout, dropout_keys, norm

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
    """dense, activation, norm, then the embedding table as output projection, plus a bias; the first three can be left
    out (`mlm_head.transform`), and the projection can have a table of its own (`mlm_head.tied`).

    Given only the masked positions: at 15 % this saves 18 % of BERT-base's FLOPs and the [B, L, V]
    logits. Logits are float32.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, hidden_BMD: Array, embedding_VE: Array) -> Array:
        config = self.config
        params = declare(self, rows_below("mlm_head", config), config=config)
        x_BME = hidden_BMD
        if config.mlm_head.transform:
            x_BME = ACTIVATIONS[config.activation](dense(params["dense"], x_BME))
            x_BME = norm(params["layer_norm"], x_BME, config=config.norm)
        table_VE = embedding_VE if config.mlm_head.tied else params["decoder"]
        logits_BMV = jnp.einsum(
            "BME,VE->BMV", x_BME, table_VE.astype(x_BME.dtype), preferred_element_type=jnp.float32
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


_HEAD_ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "gelu": ACTIVATIONS["gelu"]}


class TaskHead(nn.Module):
    """Scores of a task's classes, float32: [dropout, dense, activation,] dropout, output layer.

    The bracketed part is in the head of a text where its `hidden` is not "pooler"; where that is "transform" it is the
    MLM head's dense layer, activation and norm, without dropout before them. The forms are those of the classes of
    Hugging Face: BertForSequenceClassification and its like.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, x_BXD: Array, dropout_keys_B2: Array | None = None) -> Array:
        """Scores [B, X, C] of states [B, X, D], X the texts or the tokens of a row."""
        head = self.config.head
        params = declare(self, rows_below("task_head", self.config), config=self.config)
        keys_B2 = dropout_keys_B2
        if head.has_dense and head.hidden == "transform":
            x_BXD = ACTIVATIONS[self.config.activation](dense(params["dense"], x_BXD))
            x_BXD = norm(params["norm"], x_BXD, config=self.config.norm)
        elif head.has_dense:
            x_BXD = dropout(x_BXD, head.dropout_rate, None if keys_B2 is None else keys_B2[:, 0])
            x_BXD = _HEAD_ACTIVATIONS[head.hidden](dense(params["dense"], x_BXD))
        x_BXD = dropout(x_BXD, head.dropout_rate, None if keys_B2 is None else keys_B2[:, 1])
        return dense(params["output"], x_BXD).astype(jnp.float32)


def head_dropout_keys(key: Array, example_ids_B: Array) -> Array:
    """Keys of a task head's two dropout sites, [B, 2]; apart from those of the encoder under the same `key`."""
    return dropout_keys(jax.random.fold_in(key, 2**32 - 2), example_ids_B, 2)


def pooled_embedding(hidden_BLD: Array, pack_ids_BL: Array, first_BP: Array, *, pooling: Pooling) -> Array:
    """A vector for each text of each row, float32 [B, P, D]: the state of its first token, or the mean of all its
    tokens' states, [CLS] and [SEP] included (Reimers and Gurevych 2019, section 3)."""
    if pooling == "cls":
        return gather(hidden_BLD, first_BP).astype(jnp.float32)
    numbers_P = jnp.arange(1, first_BP.shape[1] + 1, dtype=pack_ids_BL.dtype)
    is_of_BLP = (pack_ids_BL[..., None] == numbers_P[None, None]).astype(jnp.float32)
    sums_BPD = jnp.einsum("BLP,BLD->BPD", is_of_BLP, hidden_BLD.astype(jnp.float32))
    counts_BP1 = jnp.maximum(is_of_BLP.sum(1), 1)[..., None]
    return sums_BPD / counts_BP1
