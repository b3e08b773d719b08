"""A tiny model of every family, its parameters random, for tests of names and files."""

from __future__ import annotations

import dataclasses

from bert_jax.config import TokenizerConfig
from bert_jax.config.model import ModelConfig
from bert_jax.interop import names
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks
from tests.golden import drawn

_SIZES = {
    "vocab_size": 41, "hidden_size": 12, "num_layers": 2, "num_heads": 3, "mlp_size": 20, "max_positions": 9,
}  # fmt: skip
_RELATIVE = _SIZES | {
    "attention": "disentangled", "type_vocab_size": 0, "pooler": "none", "relative_span": 5,
    "enhanced_mask_decoder": True,
}  # fmt: skip
CONFIGS = {
    "bert": ModelConfig(**_SIZES),
    "roberta": ModelConfig(family="roberta", **_SIZES, type_vocab_size=1, position_offset=1, pooler="none"),
    "albert": ModelConfig(family="albert", **_SIZES, embedding_size=8, sharing="all"),
    "electra": ModelConfig(family="electra", **_SIZES, embedding_size=8, pooler="none"),
    "distilbert": ModelConfig(family="distilbert", **_SIZES, type_vocab_size=0, pooler="none"),
    "deberta": ModelConfig(family="deberta", **_RELATIVE, key_bias=False),
    "deberta_v2": ModelConfig(
        family="deberta_v2", **_RELATIVE, relative_buckets=4, relative_projections="shared", relative_norm=True,
        convolution=3,
    ),
}  # fmt: skip
HEADS = {
    "bert": ("bert/pooler", "mlm_head", "pair_head"),
    "albert": ("bert/pooler", "mlm_head", "pair_head"),
    "electra": ("rtd_head",),
}
"""What there is beside the encoder; ("mlm_head",) for the others."""
TOKENIZER = tokenizers.train(count_chunks(["a cat", "a dog"]), TokenizerConfig(vocab_size=41))


def params_of(config: ModelConfig, heads: tuple[str, ...] | None = None):
    heads = HEADS.get(config.family, ("mlm_head",)) if heads is None else heads
    return names.from_hf(drawn.weights(config, heads, seed=5), config)


def variant(family: str, /, **fields) -> ModelConfig:
    return dataclasses.replace(CONFIGS[family], **fields)
