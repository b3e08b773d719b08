"""A tiny model of every family, its parameters random, for tests of names and files."""

from __future__ import annotations

from bert_jax.config import TokenizerConfig
from bert_jax.config.model import ModelConfig
from bert_jax.interop import names
from bert_jax.text import tokenizer as tokenizers
from bert_jax.text.vocabulary import count_chunks
from tests.configs import changed, model
from tests.golden import drawn

_SIZES = {
    "vocab_size": 41, "hidden_size": 12, "num_layers": 2, "num_heads": 3, "mlp_size": 20, "max_positions": 9,
}  # fmt: skip
_RELATIVE = _SIZES | {
    "positions": "disentangled", "type_vocab_size": 0, "pooler": "none", "relative__span": 5,
    "relative__mask_decoder": True,
}  # fmt: skip
_MODERN = _SIZES | {
    "num_layers": 4, "mlp_size": 24, "type_vocab_size": 0, "pooler": "none", "biases": False,
    "positions": "rotary", "norm__place": "before",
}  # fmt: skip
CONFIGS = {
    "bert": model(**_SIZES),
    "roberta": model(family="roberta", **_SIZES, type_vocab_size=1, position_offset=1, pooler="none"),
    "albert": model(family="albert", **_SIZES, embedding_size=8, sharing="all"),
    "electra": model(family="electra", **_SIZES, embedding_size=8, pooler="none"),
    "distilbert": model(family="distilbert", **_SIZES, type_vocab_size=0, pooler="none"),
    "deberta": model(family="deberta", **_RELATIVE, relative__key_bias=False),
    "deberta_v2": model(
        family="deberta_v2", **_RELATIVE, relative__buckets=4, relative__projections="shared", relative__norm=True,
        relative__convolution=3,
    ),
    "modernbert": model(
        family="modernbert", **_MODERN, mlp="geglu", norm__eps=1e-5, norm__bias=False, norm__first=False,
        rotary__base=160_000.0, pattern=("global", "local", "local"), window=2, initializer="megatron",
    ),
    "neobert": model(
        family="neobert", **_MODERN, mlp="swiglu", rotary__pairs="neighbours", norm__kind="rms", norm__eps=1e-5,
        norm__embeddings=False, mlm_head__transform=False, mlm_head__tied=False, initializer="uniform",
        dropout_rate=0.0, attention_dropout_rate=0.0,
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
    return changed(CONFIGS[family], **fields)
