"""What a model is: its architecture as data. Imports nothing heavy, so that a config is resolved without jax."""

from __future__ import annotations

import dataclasses
from typing import Literal

from bert_jax.config.head import HeadConfig
from bert_jax.config.options import derived, option

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
    hidden_size: int = option(768, "D, width of the residual stream", gt=0)
    embedding_size: int = option(
        0, "E, width of the embedding tables, projected to D (ALBERT, section 3.1); 0: D, no projection", ge=0
    )
    num_layers: int = option(12, "Transformer layers", gt=0)
    num_heads: int = option(12, "H; the head dimension is hidden_size / num_heads", gt=0)
    mlp_size: int = option(3072, "F, width inside the feed-forward block", gt=0)
    sharing: Literal["none", "all", "attention", "ffn"] = option(
        "none", "what the layers of a group share (ALBERT, section 3.1)"
    )
    groups: int = option(1, "consecutive groups of layers that `sharing` is within", gt=0)
    max_positions: int = option(512, "the longest sequence", gt=0)
    position_offset: int = option(
        0, "rows of the position table before position 0 (RoBERTa: pad id + 1)", ge=0
    )
    type_vocab_size: int = option(
        2,
        "rows of the segment-type table; 1: all tokens have row 0 (RoBERTa); 0: no table (DistilBERT)",
        ge=0,
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
    relative_span: int = option(
        512, "k, the distance beyond which all are alike", gt=0, needs="model.attention=disentangled"
    )
    relative_buckets: int = option(
        0,
        "distances past half of this many share log-sized buckets (DeBERTa-v2: 256); 0: none",
        ge=0,
        needs="model.attention=disentangled",
    )
    relative_terms: tuple[Literal["c2p", "p2c"], ...] = option(
        ("c2p", "p2c"),
        "content-to-position, position-to-content scores",
        needs="model.attention=disentangled",
    )
    relative_projections: Literal["separate", "shared"] = option(
        "separate",
        "projections of the relative table: their own (v1), or the content's query and key (v2)",
        needs="model.attention=disentangled",
    )
    relative_norm: bool = option(
        False, "LayerNorm on the relative table (v2)", needs="model.attention=disentangled"
    )
    key_bias: bool = option(
        True, "biases in the key projections (v1 has none)", needs="model.attention=disentangled"
    )
    convolution: int = option(
        0,
        "taps of a convolution beside the first layer (DeBERTa-v2-xlarge: 3); 0: none",
        ge=0,
        needs="model.attention=disentangled",
    )
    enhanced_mask_decoder: bool = option(
        False,
        "absolute positions enter just before the MLM head (DeBERTa, section 3.2)",
        needs="model.attention=disentangled",
    )
    layer_norm_eps: float = option(1e-12, "epsilon inside LayerNorm's square root", gt=0)
    initializer_range: float = option(0.02, "standard deviation of the truncated normal at init", gt=0)
    dropout_rate: float = option(0.1, "dropout of embeddings and of each block's output", ge=0, lt=1)
    attention_dropout_rate: float = option(
        0.1, "dropout of attention probabilities (0 admits cudnn)", ge=0, lt=1
    )
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
    head: HeadConfig = derived(HeadConfig())

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

    def portable(self) -> ModelConfig:
        """The same function for any platform: attention through XLA."""
        return dataclasses.replace(self, attention_backend="xla")

    @property
    def layer_passes(self) -> int:
        """How often a layer is applied in one forward pass: the encoder's layers, then twice the last one in the
        enhanced mask decoder."""
        return self.num_layers + 2 * self.enhanced_mask_decoder

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
