"""The published sizes by name."""

from __future__ import annotations

from typing import Any

from bert_jax.config.model import ModelConfig


def _bert(name: str, num_layers: int, hidden_size: int, **fields: Any) -> ModelConfig:
    """Every published size but TinyBERT's and ELECTRA's has heads of 64 and an MLP four times the width."""
    sizes = {"num_heads": hidden_size // 64, "mlp_size": 4 * hidden_size, **fields}
    return ModelConfig(preset=name, num_layers=num_layers, hidden_size=hidden_size, **sizes)


def _roberta(name: str, num_layers: int, hidden_size: int) -> ModelConfig:
    return _bert(
        name, num_layers, hidden_size, family="roberta", vocab_size=50265, type_vocab_size=1,
        position_offset=2, pooler="none", layer_norm_eps=1e-5,
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
        attention="disentangled", key_bias=False, enhanced_mask_decoder=True, layer_norm_eps=1e-7,
    )  # fmt: skip


def _deberta_v2(name: str, num_layers: int, hidden_size: int, convolution: int = 0) -> ModelConfig:
    return _bert(
        name, num_layers, hidden_size, family="deberta_v2", vocab_size=128100, type_vocab_size=0,
        pooler="none", attention="disentangled", relative_buckets=256, relative_projections="shared",
        relative_norm=True, convolution=convolution, enhanced_mask_decoder=True, layer_norm_eps=1e-7,
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
    )
}
