"""What a model is: its architecture as data, and the published sizes by name.

Imports nothing heavy, so that a config can be resolved without jax.
"""

from __future__ import annotations

import dataclasses
from typing import Literal


def option(default, doc: str):
    """A dataclass field with the sentence that `bert-jax config` prints beside it."""
    return dataclasses.field(default=default, metadata={"doc": doc})


Part = Literal["attention", "ffn"]
Family = Literal["bert", "roberta", "albert", "electra", "distilbert", "deberta", "deberta_v2"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """An encoder. The defaults are BERT-base (Devlin et al. 2019, section 3).

    In an experiment every field but `preset` starts as None: "what the preset says".
    """

    preset: str = option("bert-base", "published size that fills every field not set here")
    family: Family = option(
        "bert", "whose tensor names and config.json an export takes; what is computed, the other fields say"
    )
    vocab_size: int = option(30522, "V; follows tokenizer.vocab_size")
    hidden_size: int = option(768, "D, width of the residual stream")
    embedding_size: int = option(
        0, "E, width of the embedding tables, projected to D (ALBERT, section 3.1); 0: D, no projection"
    )
    num_layers: int = option(12, "Transformer layers")
    num_heads: int = option(12, "H; the head dimension is hidden_size / num_heads")
    mlp_size: int = option(3072, "F, width inside the feed-forward block")
    sharing: Literal["none", "all", "attention", "ffn"] = option(
        "none", "what the layers of a group share (ALBERT, section 3.1)"
    )
    groups: int = option(1, "consecutive groups of layers that `sharing` is within")
    max_positions: int = option(512, "the longest sequence")
    position_offset: int = option(0, "rows of the position table before position 0 (RoBERTa: pad id + 1)")
    type_vocab_size: int = option(
        2, "rows of the segment-type table; 1: all tokens have row 0 (RoBERTa); 0: no table (DistilBERT)"
    )
    activation: Literal["gelu", "gelu_tanh"] = option(
        "gelu", "erf GELU (paper, Hugging Face) or its tanh approximation (Google code since 2019-02)"
    )
    pooler: Literal["tanh", "gelu", "none"] = option(
        "tanh", "activation of the pooler over [CLS] that a sentence objective needs; none: no pooler"
    )
    attention: Literal["absolute", "disentangled"] = option(
        "absolute",
        "absolute: positions are added to the input; disentangled: content and relative position have"
        " scores of their own (DeBERTa, section 3.1)",
    )
    relative_span: int = option(512, "disentangled: k, the distance beyond which all are alike")
    relative_buckets: int = option(
        0, "disentangled: distances past half of this many share log-sized buckets (DeBERTa-v2: 256); 0: none"
    )
    relative_terms: tuple[Literal["c2p", "p2c"], ...] = option(
        ("c2p", "p2c"), "disentangled: content-to-position, position-to-content scores"
    )
    relative_projections: Literal["separate", "shared"] = option(
        "separate",
        "disentangled: projections of the relative table: their own (v1), or the content's query and key (v2)",
    )
    relative_norm: bool = option(False, "disentangled: LayerNorm on the relative table (v2)")
    key_bias: bool = option(True, "disentangled: biases in the key projections (v1 has none)")
    convolution: int = option(
        0, "disentangled: taps of a convolution beside the first layer (DeBERTa-v2-xlarge: 3); 0: none"
    )
    enhanced_mask_decoder: bool = option(
        False, "disentangled: absolute positions enter just before the MLM head (DeBERTa, section 3.2)"
    )
    layer_norm_eps: float = option(1e-12, "epsilon inside LayerNorm's square root")
    initializer_range: float = option(0.02, "standard deviation of the truncated normal at init")
    dropout_rate: float = option(0.1, "dropout of embeddings and of each block's output")
    attention_dropout_rate: float = option(0.1, "dropout of attention probabilities (0 admits cudnn)")
    attention_backend: Literal["xla", "cudnn"] = option(
        "xla", "cudnn: fused attention on NVIDIA GPUs; bfloat16, no attention dropout"
    )
    dtype: Literal["float32", "bfloat16"] = option(
        "float32", "type of the computation; parameters stay float32"
    )
    layers: Literal["loop", "scan"] = option(
        "loop", "loop: fastest step; scan: compile time independent of depth; same parameters"
    )
    remat: bool = option(False, "recompute each layer in the backward pass: less memory, 4/3 the FLOPs")

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def embedding_width(self) -> int:
        """E, the width of the embedding tables."""
        return self.embedding_size or self.hidden_size

    @property
    def position_rows(self) -> int:
        """S, rows of the position table."""
        return self.max_positions + self.position_offset

    @property
    def relative_rows(self) -> int:
        """R, rows of the relative table: as many for keys ahead as for keys behind."""
        return 2 * (self.relative_buckets or self.relative_span)

    def owner(self, part: Part, layer: int) -> int:
        """The layer that holds the parameters of `layer`'s `part`: the first of its group where it is shared."""
        if self.sharing not in ("all", part):
            return layer
        size = self.num_layers // self.groups
        return layer // size * size


EXECUTION = (
    "dropout_rate", "attention_dropout_rate", "attention_backend", "dtype", "layers", "remat",
    "initializer_range",
)  # fmt: skip
"""The fields that say how a model is trained or run, not which function it is."""


def _bert(name: str, num_layers: int, hidden_size: int, **fields) -> ModelConfig:
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


def parameter_count(model: str | ModelConfig) -> int:
    """Exact number of parameters of the encoder, with its pooler where it has one, without allocating any.

    The published figures count this part (bert-base: 109,482,240); pretraining heads come on top.
    """
    from bert_jax.models import bert  # jax only when a count is asked for

    config = PRESETS[model] if isinstance(model, str) else model
    return bert.count_parameters(config)
