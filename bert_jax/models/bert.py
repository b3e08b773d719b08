"""BERT (Devlin et al. 2019): embeddings, encoder, pooler, and the two pretraining heads."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from bert_jax.models.attention import visibility
from bert_jax.models.encoder import DROPOUT_SITES, Encoder
from bert_jax.models.heads import MlmHead, PairHead, Pooler, gather
from bert_jax.models.layers import dropout, dropout_keys, kernel_init, layer_norm
from bert_jax.models.presets import ModelConfig

Array = jax.Array


@flax.struct.dataclass
class Output:
    """Everything a forward pass names; under jit what is not used is not computed."""

    hidden_states: tuple[Array, ...]  # num_layers + 1 of [B, L, D], the embeddings first
    pooled_BPD: Array
    mlm_logits_BMV: Array
    pair_logits_BPC: Array

    @property
    def hidden_BLD(self) -> Array:
        return self.hidden_states[-1]


class Embeddings(nn.Module):
    """Sum of token, position and segment-type embeddings, LayerNorm, dropout (section 3, figure 2)."""

    config: ModelConfig

    def setup(self):
        def table(rows: int, name: str) -> Array:
            return self.param(name, kernel_init(self.config), (rows, self.config.hidden_size), jnp.float32)

        self.token_VD = table(self.config.vocab_size, "token")
        self.position_SD = table(self.config.max_positions, "position")
        self.type_TD = table(self.config.type_vocab_size, "type")
        self.norm = layer_norm(self.config, name="norm")

    def __call__(self, tokens_BL: Array, type_ids_BL: Array, positions_BL: Array, keys_B: Array | None):
        x_BLD = self.token_VD[tokens_BL] + self.position_SD[positions_BL] + self.type_TD[type_ids_BL]
        return dropout(self.norm(x_BLD), self.config.dropout_rate, keys_B)


class Bert(nn.Module):
    """Embeddings, encoder and pooler: the part whose size papers quote."""

    config: ModelConfig

    def setup(self):
        self.embeddings = Embeddings(self.config)
        self.encoder = Encoder(self.config)
        self.pooler = Pooler(self.config)

    def __call__(self, batch, dropout_key: Array | None = None) -> tuple[tuple[Array, ...], Array]:
        """Returns the hidden states and the pooled [CLS] states [B, P, D]."""
        keys_B = keys_BN3 = None
        if dropout_key is not None:
            layers = self.config.num_layers
            keys = dropout_keys(dropout_key, batch["example_ids_B"], 1 + layers * DROPOUT_SITES)
            keys_B, keys_BN3 = keys[:, 0], keys[:, 1:].reshape(-1, layers, DROPOUT_SITES)
        x_BLD = self.embeddings(batch["tokens_BL"], batch["type_ids_BL"], batch["positions_BL"], keys_B)
        visible = visibility(batch["pack_ids_BL"], packed=batch["first_BP"].shape[1] > 1)
        states = self.encoder(x_BLD, visible, keys_BN3)
        return states, self.pooler(gather(states[-1], batch["first_BP"]))


class BertForPretraining(nn.Module):
    """BERT with its masked-language-model and sentence-pair heads, from the batch contract."""

    config: ModelConfig

    def setup(self):
        self.bert = Bert(self.config)
        self.mlm_head = MlmHead(self.config)
        self.pair_head = PairHead(self.config)

    def __call__(self, batch, *, dropout_key: Array | None = None) -> Output:
        """`batch` has the fields of `bert_jax.batch`; without `dropout_key` the pass is deterministic."""
        states, pooled_BPD = self.bert(batch, dropout_key)
        masked_BMD = gather(states[-1], batch["mlm_positions_BM"])
        return Output(
            hidden_states=states,
            pooled_BPD=pooled_BPD,
            mlm_logits_BMV=self.mlm_head(masked_BMD, self.bert.embeddings.token_VD),
            pair_logits_BPC=self.pair_head(pooled_BPD),
        )


def init_params(config: ModelConfig, key: Array) -> dict[str, Any]:
    """Fresh float32 parameters of `BertForPretraining`."""
    one = jnp.zeros((1, 1), jnp.int32)
    fields = ("tokens_BL", "type_ids_BL", "pack_ids_BL", "positions_BL", "mlm_positions_BM", "first_BP")
    return BertForPretraining(config).init(key, dict.fromkeys(fields, one))["params"]


def count_parameters(config: ModelConfig) -> int:
    """Parameters of `Bert` (no pretraining heads), from shapes alone."""
    params = jax.eval_shape(lambda key: init_params(config, key), jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params["bert"]))
