"""The published sizes by name."""

from __future__ import annotations

from typing import Any

from bert_jax.config.model import (
    MlmHeadConfig,
    ModelConfig,
    NormConfig,
    Reach,
    RelativeConfig,
    RotaryConfig,
)


def _bert(name: str, num_layers: int, hidden_size: int, **fields: Any) -> ModelConfig:
    """Every published size but TinyBERT's and ELECTRA's has heads of 64 and an MLP four times the width."""
    sizes = {"num_heads": hidden_size // 64, "mlp_size": 4 * hidden_size, **fields}
    return ModelConfig(preset=name, num_layers=num_layers, hidden_size=hidden_size, **sizes)


def _roberta(name: str, num_layers: int, hidden_size: int) -> ModelConfig:
    return _bert(
        name, num_layers, hidden_size, family="roberta", vocab_size=50265, type_vocab_size=1,
        position_offset=2, pooler="none", norm=NormConfig(eps=1e-5),
    )  # fmt: skip


def _albert(name: str, num_layers: int, hidden_size: int, num_heads: int) -> ModelConfig:
    """Version 1 drops out and has erf GELU, version 2 neither; xxlarge never dropped out (model cards)."""
    first, rate = name.endswith("-v1"), 0.1 if name.endswith("-v1") and "xxlarge" not in name else 0.0
    return _bert(
        name, num_layers, hidden_size, family="albert", vocab_size=30000, num_heads=num_heads,
        embedding_size=128, sharing="all", activation="gelu" if first else "gelu_tanh",
        dropout_rate=rate, attention_dropout_rate=rate,
    )  # fmt: skip


def _electra(name: str, num_layers: int, hidden_size: int, embedding_size: int = 0) -> ModelConfig:
    return _bert(
        name, num_layers, hidden_size, family="electra", embedding_size=embedding_size, pooler="none"
    )


def _deberta(name: str, num_layers: int, hidden_size: int) -> ModelConfig:
    return _bert(
        name, num_layers, hidden_size, family="deberta", vocab_size=50265, type_vocab_size=0, pooler="none",
        positions="disentangled", relative=RelativeConfig(key_bias=False, mask_decoder=True),
        norm=NormConfig(eps=1e-7),
    )  # fmt: skip


def _deberta_v2(name: str, num_layers: int, hidden_size: int, convolution: int = 0) -> ModelConfig:
    return _bert(
        name, num_layers, hidden_size, family="deberta_v2", vocab_size=128100, type_vocab_size=0,
        pooler="none", positions="disentangled", norm=NormConfig(eps=1e-7),
        relative=RelativeConfig(
            buckets=256, projections="shared", norm=True, convolution=convolution, mask_decoder=True
        ),
    )  # fmt: skip


_MODERN: tuple[Reach, ...] = ("global", "local", "local")


def _modernbert(
    name: str, num_layers: int, hidden_size: int, mlp_size: int, vocab_size: int = 50368, **fields: Any
) -> ModelConfig:
    """Warner et al. 2024, table 4 and the released code, of which Ettin (Weller et al. 2025) and mmBERT (Marone et
    al. 2025) are other sizes."""
    rotary = {"base": 160_000.0, "local_base": 10_000.0, **fields}
    return _bert(
        name, num_layers, hidden_size, family="modernbert", vocab_size=vocab_size, type_vocab_size=0,
        max_positions=8192, mlp_size=mlp_size, mlp="geglu", biases=False, pooler="none", positions="rotary",
        norm=NormConfig(place="before", bias=False, eps=1e-5, first=False), rotary=RotaryConfig(**rotary),
        pattern=_MODERN, window=64, initializer="megatron", dropout_rate=0.0, attention_dropout_rate=0.0,
    )  # fmt: skip


def _neobert(name: str) -> ModelConfig:
    """Le Breton et al. 2025, table 1 and the released checkpoint; its MLP is two thirds of 3,072 wide."""
    return _bert(
        name, 28, 768, family="neobert", type_vocab_size=0, max_positions=4096, mlp_size=2048, mlp="swiglu",
        biases=False, pooler="none", positions="rotary", rotary=RotaryConfig(pairs="neighbours"),
        norm=NormConfig(kind="rms", place="before", eps=1e-5, embeddings=False),
        mlm_head=MlmHeadConfig(transform=False, tied=False), initializer="uniform", dropout_rate=0.0,
        attention_dropout_rate=0.0,
    )  # fmt: skip


def _mosaicbert(name: str, num_layers: int, hidden_size: int) -> ModelConfig:
    """BERT with ALiBi and gated MLPs (Portes et al. 2023, section 2.1)."""
    return _bert(
        name,
        num_layers,
        hidden_size,
        positions="alibi",
        mlp="geglu",
        pooler="none",
        attention_dropout_rate=0.0,
    )


def _crammed(name: str) -> ModelConfig:
    """Geiping and Goldstein 2023, section 4.2 and the released code: half of 3,072 is left after the gate."""
    return _bert(
        name, 16, 768, vocab_size=32768, type_vocab_size=0, mlp_size=1536, mlp="geglu",
        biases=False, pooler="none", positions="sinusoidal", norm=NormConfig(place="before"),
        mlm_head=MlmHeadConfig(transform=False), dropout_rate=0.0, attention_dropout_rate=0.0,
    )  # fmt: skip


PRESETS: dict[str, ModelConfig] = {
    config.preset: config
    for config in (
        # Devlin et al. 2019 (base, large); Turc et al. 2019, table 1 (the smaller ones).
        _bert("bert-tiny", 2, 128),
        _bert("bert-mini", 4, 256),
        _bert("bert-small", 4, 512),
        _bert("bert-medium", 8, 512),
        _bert("bert-base", 12, 768),
        _bert("bert-large", 24, 1024),
        _bert("bert-base-cased", 12, 768, vocab_size=28996),
        _bert("bert-large-cased", 24, 1024, vocab_size=28996),
        # Jiao et al. 2020, section 4.2; Sanh et al. 2019, section 3.
        _bert("tinybert-4", 4, 312, num_heads=12, mlp_size=1200),
        _bert("tinybert-6", 6, 768),
        _bert("distilbert", 6, 768, family="distilbert", type_vocab_size=0, pooler="none"),
        # Liu et al. 2019, section 5.
        _roberta("roberta-base", 12, 768),
        _roberta("roberta-large", 24, 1024),
        # Lan et al. 2020, table 1.
        *(
            _albert(f"albert-{size}-{version}", *sizes)
            for version in ("v1", "v2")
            for size, sizes in (
                ("base", (12, 768, 12)),
                ("large", (24, 1024, 16)),
                ("xlarge", (24, 2048, 16)),
                ("xxlarge", (12, 4096, 64)),
            )
        ),
        # Clark et al. 2020, table 6; the generators as released.
        _electra("electra-small", 12, 256, 128),
        _electra("electra-base", 12, 768),
        _electra("electra-large", 24, 1024),
        _electra("electra-small-generator", 12, 256, 128),
        _electra("electra-base-generator", 12, 256, 768),
        _electra("electra-large-generator", 24, 256, 1024),
        # He et al. 2021a, table 8; He et al. 2021b, section 4; the released sizes.
        _deberta("deberta-base", 12, 768),
        _deberta("deberta-large", 24, 1024),
        _deberta("deberta-xlarge", 48, 1024),
        _deberta_v2("deberta-v2-xlarge", 24, 1536, 3),
        _deberta_v2("deberta-v2-xxlarge", 48, 1536, 3),
        _deberta_v2("deberta-v3-xsmall", 12, 384),
        _deberta_v2("deberta-v3-small", 6, 768),
        _deberta_v2("deberta-v3-base", 12, 768),
        _deberta_v2("deberta-v3-large", 24, 1024),
        # Encoders since 2023.
        _modernbert("modernbert-base", 22, 768, 1152),
        _modernbert("modernbert-large", 28, 1024, 2624),
        _modernbert("ettin-17m", 7, 256, 384, local_base=160_000.0),
        _modernbert("ettin-32m", 10, 384, 576, local_base=160_000.0),
        _modernbert("ettin-68m", 19, 512, 768, local_base=160_000.0),
        _modernbert("ettin-150m", 22, 768, 1152, local_base=160_000.0),
        _modernbert("ettin-400m", 28, 1024, 2624, local_base=160_000.0),
        _modernbert("ettin-1b", 28, 1792, 3840, local_base=160_000.0),
        _modernbert("mmbert-small", 22, 384, 1152, 256000, local_base=160_000.0),
        _modernbert("mmbert-base", 22, 768, 1152, 256000, local_base=160_000.0),
        _neobert("neobert"),
        _mosaicbert("mosaicbert-base", 12, 768),
        _mosaicbert("mosaicbert-large", 24, 1024),
        _crammed("crammed-bert"),
    )
}
