"""What a model is: its architecture as data. Imports nothing heavy, so that a config is resolved without jax."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from bert_jax.config.head import HeadConfig
from bert_jax.config.options import derived, option

Part = Literal["attention", "ffn"]
Family = Literal[
    "bert", "roberta", "albert", "electra", "distilbert", "deberta", "deberta_v2", "modernbert", "neobert"
]
Dropped = Literal["embeddings", "attention", "mlp"]
Reach = Literal["global", "local"]
Remat = Literal["none", "attention", "dots", "full"]


REMAT = (
    "what the backward pass computes again instead of reading it: attention: scores and probabilities; dots: all but the"
    " products with parameters; full: each layer, 4/3 the FLOPs. Each needs less memory than the one before"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NormConfig:
    """How states are normalised, and where."""

    kind: Literal["layer", "rms"] = option(
        "layer",
        "layer: LayerNorm; rms: RMSNorm, which does not centre and has no bias (Zhang and Sennrich 2019)",
    )
    place: Literal["after", "before"] = option(
        "after",
        "after: of each sum of a block and its residual (BERT); before: of what each block reads, and of the last"
        " layer's output (Xiong et al. 2020)",
    )
    eps: float = option(1e-12, "epsilon inside the square root", gt=0)
    bias: bool = option(True, "whether LayerNorms have a bias", needs="model.norm.kind=layer")
    embeddings: bool = option(True, "whether the sum of the embeddings is normalised")
    first: bool = option(
        True,
        "whether the first layer's attention has a norm; ModernBERT has none there, as the embeddings are normalised",
        needs="model.norm.place=before",
    )

    @property
    def has_bias(self) -> bool:
        return self.kind == "layer" and self.bias


@dataclasses.dataclass(frozen=True, kw_only=True)
class RotaryConfig:
    """Rotary positions (Su et al. 2021): queries and keys are turned by angles that grow with the position."""

    base: float = option(10_000.0, "theta of global layers", gt=1, needs="model.positions=rotary")
    local_base: float = option(10_000.0, "theta of local layers", gt=1, needs="model.positions=rotary")
    pairs: Literal["halves", "neighbours"] = option(
        "halves",
        "which two of a head's K numbers turn together: k and k + K/2 (GPT-NeoX, ModernBERT), or 2k and 2k + 1"
        " (the paper, NeoBERT)",
        needs="model.positions=rotary",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelativeConfig:
    """Disentangled attention (DeBERTa; He et al. 2021a, section 3.1)."""

    span: int = option(
        512, "k, the distance beyond which all are alike", gt=0, needs="model.positions=disentangled"
    )
    buckets: int = option(
        0,
        "distances past half of this many share log-sized buckets (DeBERTa-v2: 256); 0: none",
        ge=0,
        needs="model.positions=disentangled",
    )
    terms: tuple[Literal["c2p", "p2c"], ...] = option(
        ("c2p", "p2c"),
        "content-to-position, position-to-content scores",
        needs="model.positions=disentangled",
    )
    projections: Literal["separate", "shared"] = option(
        "separate",
        "projections of the relative table: their own (v1), or the content's query and key (v2)",
        needs="model.positions=disentangled",
    )
    norm: bool = option(False, "LayerNorm on the relative table (v2)", needs="model.positions=disentangled")
    key_bias: bool = option(
        True, "biases in the key projections (v1 has none)", needs="model.positions=disentangled"
    )
    convolution: int = option(
        0,
        "taps of a convolution beside the first layer (DeBERTa-v2-xlarge: 3); 0: none",
        ge=0,
        needs="model.positions=disentangled",
    )
    mask_decoder: bool = option(
        False,
        "the enhanced mask decoder: absolute positions enter just before the MLM head (section 3.2)",
        needs="model.positions=disentangled",
    )

    @property
    def rows(self) -> int:
        """R, rows of the relative table: as many for keys ahead as for keys behind."""
        return 2 * (self.buckets or self.span)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MlmHeadConfig:
    """The head that predicts masked tokens."""

    transform: bool = option(
        True, "dense, activation and norm before the output projection (BERT); false: none (NeoBERT)"
    )
    tied: bool = option(True, "whether the output projection is the token table")


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
    mlp: Literal["gelu", "geglu", "swiglu"] = option(
        "gelu",
        "gelu: two matrices and the activation between; geglu, swiglu: the first makes a second set of F numbers,"
        " by which activated or SiLU ones are multiplied (Shazeer 2020)",
    )
    biases: bool = option(True, "whether the linear maps of layers and MLM head have biases")
    pooler: Literal["tanh", "gelu", "none"] = option(
        "tanh", "activation of the pooler over [CLS] that a sentence objective needs; none: no pooler"
    )
    positions: Literal["absolute", "sinusoidal", "rotary", "alibi", "disentangled"] = option(
        "absolute",
        "absolute: a table, added to the input; sinusoidal: sines and cosines with one learned scale, added to it (Geiping"
        " and Goldstein 2023); rotary: queries and keys are turned; alibi: a penalty on the distance,"
        " a slope a head (Press et al. 2022; MosaicBERT); disentangled: content and relative position have scores of"
        " their own (DeBERTa, section 3.1)",
    )
    norm: NormConfig = NormConfig()
    rotary: RotaryConfig = RotaryConfig()
    relative: RelativeConfig = RelativeConfig()
    pattern: tuple[Reach, ...] = option(
        ("global",),
        "which layers attend to all tokens and which to those near, repeated over the depth: ModernBERT's is"
        " global,local,local",
    )
    window: int = option(
        64, "tokens on each side that a local layer's queries reach", gt=0, needs="model.pattern=local"
    )
    mlm_head: MlmHeadConfig = MlmHeadConfig()
    initializer: Literal["normal", "megatron", "uniform"] = option(
        "normal",
        "of fresh matrices and tables; normal: cut at two standard deviations; megatron: that, and less by"
        " sqrt(2 num_layers) for what adds to the residual stream (Shoeybi et al. 2019); uniform: between plus and minus"
        " the range",
    )
    initializer_range: float = option(0.02, "standard deviation (uniform: bound) of fresh parameters", gt=0)
    dropout_rate: float = option(0.1, "dropout at the places of dropout_at", ge=0, lt=1)
    dropout_at: tuple[Dropped, ...] = option(
        ("embeddings", "attention", "mlp"),
        "what dropout_rate acts on: the embeddings, DeBERTa's relative table among them; the output of attention (alone in"
        " ModernBERT); that of the MLP, and of DeBERTa's convolution",
    )
    attention_dropout_rate: float = option(
        0.1, "dropout of attention probabilities (0 admits cudnn)", ge=0, lt=1
    )
    attention_backend: Literal["auto", "xla", "cudnn", "pallas", "triton"] = option(
        "auto",
        "what computes attention: xla, anywhere; in one kernel cudnn, on NVIDIA GPUs, bfloat16, no attention dropout; with"
        " dropout, pallas on TPUs, rows of a multiple of 128, and triton on NVIDIA GPUs, of 64; auto: the kernel of the"
        " devices where it takes the rows and pays, and the log says which",
    )
    dtype: Literal["float32", "bfloat16"] = option(
        "float32", "type of the computation; parameters stay float32"
    )
    layers: Literal["loop", "scan"] = option(
        "loop", "loop: fastest step; scan: compile time independent of depth; same parameters"
    )
    remat: Remat = option("none", REMAT)
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

    def reach(self, layer: int) -> Reach:
        """Whether the layer attends to all tokens, or to those within `window`."""
        return self.pattern[layer % len(self.pattern)]

    def dropout(self, place: Dropped) -> float:
        """The dropout rate at a place."""
        return self.dropout_rate if place in self.dropout_at else 0.0

    def portable(self) -> ModelConfig:
        """The same function for any platform: attention through XLA."""
        return dataclasses.replace(self, attention_backend="xla")

    def on_these_devices(self) -> ModelConfig:
        """The same function with the kernel of the devices that are here, which need not be those it was trained on."""
        return dataclasses.replace(self, attention_backend="auto")

    @property
    def layer_passes(self) -> int:
        """How often a layer is applied in one forward pass: the encoder's layers, then twice the last one in the
        enhanced mask decoder."""
        return self.num_layers + 2 * self.relative.mask_decoder

    def owner(self, part: Part, layer: int) -> int:
        """The layer that holds the parameters of `layer`'s `part`: the first of its group where it is shared."""
        if self.sharing not in ("all", part):
            return layer
        size = self.num_layers // self.groups
        return layer // size * size


PALLAS_LANES = 128
"""attention_backend=pallas: rows and hidden sizes are multiples of it"""
PALLAS_ROW = 2**20
"""attention_backend=pallas: length x hidden size at most, so that a row's keys fit a TPU's own memory"""
TRITON_BLOCK = 64
"""attention_backend=triton: queries, or keys, of a block, of which rows are a multiple"""
FUSED_HEAD_DIMS = (32, 64, 128)
"""attention_backend=pallas and triton"""

EXECUTION = (
    "dropout_rate", "dropout_at", "attention_dropout_rate", "attention_backend", "dtype", "layers", "remat",
    "initializer", "initializer_range",
)  # fmt: skip
"""The fields that say how a model is trained or run, not which function it is."""


def shortest_pattern(reaches: Sequence[Reach]) -> tuple[Reach, ...]:
    """The shortest `ModelConfig.pattern` that gives layers these reaches."""
    return next(
        tuple(reaches[:n])
        for n in range(1, len(reaches) + 1)
        if all(reach == reaches[i % n] for i, reach in enumerate(reaches))
    )
