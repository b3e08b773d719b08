"""The backbone that the whole family shares, and the heads it is pretrained with.

BERT (Devlin et al. 2019); by options of its config also RoBERTa, ALBERT, ELECTRA, DistilBERT, TinyBERT and
DeBERTa, whose own parts are in `deberta`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from bert_jax.batch import Batch
from bert_jax.config.head import OF_TEXTS
from bert_jax.config.model import ModelConfig
from bert_jax.models.attention import Internals, attention_mask
from bert_jax.models.embeddings import Embeddings
from bert_jax.models.encoder import DropoutKeys, Encoded, Encoder, Record
from bert_jax.models.heads import (
    MlmHead,
    PairHead,
    Pooler,
    RtdHead,
    TaskHead,
    gather,
    head_dropout_keys,
    pooled_embedding,
)

Array = jax.Array


@flax.struct.dataclass
class Output:
    """Everything a forward pass names; under jit what is not used is not computed. None: no such head."""

    hidden_states: tuple[Array, ...]
    """num_layers + 1 of [B, L, D], the embeddings first"""
    internals: Mapping[int, Internals]
    """of the attention of the layers that were to be recorded, by their numbers from 0"""
    decoder_BLD: Array
    """what the MLM head reads: the enhanced mask decoder's output, or the last state"""
    pooled_BPD: Array | None = None
    mlm_logits_BMV: Array | None = None
    pair_logits_BPC: Array | None = None
    rtd_logits_BL: Array | None = None
    """positive: the token is taken for a replaced one (ELECTRA)"""
    tokens_BL: Array | None = None
    """the rows as a discriminator reads them, with what its generator wrote"""
    replaced_BL: Array | None = None
    """bool: another token than the text's"""
    class_logits_BPC: Array | None = None
    """of a task head that reads texts: scores of the classes, of each label, or the number (C is 1)"""
    token_logits_BLC: Array | None = None
    """of a task head that reads tokens: scores of the tags, or of an answer's first and last token (C is 2)"""
    embeddings_BPD: Array | None = None
    """of a model of sentence similarity: a vector for each text, not normalised"""

    @property
    def hidden_BLD(self) -> Array:
        """The last layer's output."""
        return self.hidden_states[-1]

    @property
    def attentions(self) -> tuple[Array, ...]:
        """[B, H, L, L] after the softmax, of every layer that records it: first to last."""
        found = (self.internals[i].probabilities_BHLT for i in sorted(self.internals))
        return tuple(att_BHLT for att_BHLT in found if att_BHLT is not None)

    @property
    def pooled_BD(self) -> Array | None:
        """The pooler's output for the first example of each row."""
        return None if self.pooled_BPD is None else self.pooled_BPD[:, 0]

    @property
    def pair_logits_BC(self) -> Array | None:
        """Scores of the two labels, for the first example of each row."""
        return None if self.pair_logits_BPC is None else self.pair_logits_BPC[:, 0]

    @property
    def mlm_logits_BLV(self) -> Array | None:
        """Scores of the vocabulary where every position is a slot, as in `models.inference`: M is L."""
        return self.mlm_logits_BMV


class Bert(nn.Module):
    """Embeddings, encoder and pooler: the part whose size papers quote."""

    config: ModelConfig

    def setup(self) -> None:
        self.embeddings = Embeddings(self.config)
        self.encoder = Encoder(self.config)
        if self.config.pooler != "none":
            self.pooler = Pooler(self.config)

    def __call__(
        self, batch: Batch, dropout_key: Array | None = None, *, record: Record = MappingProxyType({})
    ) -> tuple[Encoded, Array | None]:
        """Returns the encoder's states and, with a pooler, the pooled [CLS] states [B, P, D]."""
        keys = None
        if dropout_key is not None:
            keys = DropoutKeys.of(self.config, dropout_key, batch["example_ids_B"])
        pack_ids_BL, positions_BL = batch["pack_ids_BL"], batch["positions_BL"]
        x_BLD = self.embeddings(
            batch["tokens_BL"],
            batch["type_ids_BL"],
            positions_BL=positions_BL,
            keys_B=None if keys is None else keys.embeddings_B,
        )
        mask = attention_mask(pack_ids_BL, packed=batch["first_BP"].shape[1] > 1)
        absolute_BLD = self.embeddings.positions(positions_BL) if self.config.relative.mask_decoder else None
        encoded = self.encoder(
            x_BLD,
            mask,
            positions_BL=positions_BL,
            keys=keys,
            absolute_BLD=absolute_BLD,
            record=record,
        )
        if self.config.pooler == "none":
            return encoded, None
        return encoded, self.pooler(gather(encoded.hidden_states[-1], batch["first_BP"]))


def pretraining_heads(config: ModelConfig) -> tuple[str, ...]:
    """The heads of masked-language-model pretraining: a pair head where there is a pooler to feed it; of a
    fine-tuned model none."""
    if config.head.kind != "none":
        return ()
    return ("mlm",) if config.pooler == "none" else ("mlm", "pair")


class BertWithHeads(nn.Module):
    """The backbone with its pretraining heads and the task head of its config, from the batch contract."""

    config: ModelConfig
    heads: tuple[str, ...] | None = None
    """of "mlm", "pair" and "rtd"; None: `pretraining_heads`"""

    def setup(self) -> None:
        heads = pretraining_heads(self.config) if self.heads is None else self.heads
        self.bert = Bert(self.config)
        self.mlm_head = MlmHead(self.config) if "mlm" in heads else None
        self.pair_head = PairHead(self.config) if "pair" in heads else None
        self.rtd_head = RtdHead(self.config) if "rtd" in heads else None
        self.task_head = TaskHead(self.config) if self.config.head.outputs else None

    def __call__(
        self, batch: Batch, *, dropout_key: Array | None = None, record: Record = MappingProxyType({})
    ) -> Output:
        """Without `dropout_key` the pass is deterministic. record: what of which layers' attention is given."""
        encoded, pooled_BPD = self.bert(batch, dropout_key, record=record)
        output = Output(encoded.hidden_states, encoded.internals, encoded.decoder_BLD, pooled_BPD)
        if self.mlm_head is not None:
            masked_BMD = gather(encoded.decoder_BLD, batch["mlm_positions_BM"])
            logits_BMV = self.mlm_head(masked_BMD, self.bert.embeddings.token_VE)
            output = dataclasses.replace(output, mlm_logits_BMV=logits_BMV)
        if self.pair_head is not None and pooled_BPD is not None:
            output = dataclasses.replace(output, pair_logits_BPC=self.pair_head(pooled_BPD))
        if self.rtd_head is not None:
            output = dataclasses.replace(output, rtd_logits_BL=self.rtd_head(output.hidden_BLD))
        return self._with_task(output, batch, dropout_key)

    def _with_task(self, output: Output, batch: Batch, dropout_key: Array | None) -> Output:
        head = self.config.head
        if head.kind == "embedding":
            vectors_BPD = pooled_embedding(
                output.hidden_BLD, batch["pack_ids_BL"], batch["first_BP"], pooling=head.pooling
            )
            return dataclasses.replace(output, embeddings_BPD=vectors_BPD)
        if self.task_head is None:
            return output
        keys_B2 = None if dropout_key is None else head_dropout_keys(dropout_key, batch["example_ids_B"])
        if head.kind not in OF_TEXTS:
            return dataclasses.replace(output, token_logits_BLC=self.task_head(output.hidden_BLD, keys_B2))
        if head.hidden == "pooler" and output.pooled_BPD is not None:
            x_BPD = output.pooled_BPD
        else:
            x_BPD = pooled_embedding(
                output.hidden_BLD, batch["pack_ids_BL"], batch["first_BP"], pooling=head.pooling
            ).astype(output.hidden_BLD.dtype)
        return dataclasses.replace(output, class_logits_BPC=self.task_head(x_BPD, keys_B2))


@functools.partial(
    jax.jit, static_argnums=(0, 2)
)  # alone it would run the forward pass, one operation after another
def init_params(config: ModelConfig, key: Array, heads: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Fresh float32 parameters of `BertWithHeads(config, heads)`."""
    config = config.portable()  # the other backend has the same parameters, and cuDNN may not be here
    one = jnp.zeros((1, 1), jnp.int32)
    fields = ("tokens_BL", "type_ids_BL", "pack_ids_BL", "positions_BL", "mlm_positions_BM", "first_BP")
    return BertWithHeads(config, heads).init(key, dict.fromkeys(fields, one))["params"]


def parameter_count(config: ModelConfig) -> int:
    """Exact number of parameters of the encoder, with its pooler where it has one, without allocating any.

    The published figures count this part (bert-base: 109,482,240); pretraining heads come on top.
    """
    params = jax.eval_shape(lambda key: init_params(config, key), jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params["bert"]))
