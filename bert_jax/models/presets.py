"""What a model is: its architecture as data, and the published sizes by name.

Imports nothing heavy, so that a config can be resolved without jax.
"""

from __future__ import annotations

import dataclasses
from typing import Literal


def option(default, doc: str):
    """A dataclass field with the sentence that `bert-jax config` prints beside it."""
    return dataclasses.field(default=default, metadata={"doc": doc})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """An encoder. The defaults are BERT-base (Devlin et al. 2019, section 3).

    In an experiment every field but `preset` starts as None: "what the preset says".
    """

    preset: str = option("bert-base", "published size that fills every field not set here")
    vocab_size: int = option(30522, "V; follows tokenizer.vocab_size")
    hidden_size: int = option(768, "D, width of the residual stream")
    num_layers: int = option(12, "Transformer layers")
    num_heads: int = option(12, "H; the head dimension is hidden_size / num_heads")
    mlp_size: int = option(3072, "F, width inside the feed-forward block")
    max_positions: int = option(512, "rows of the position table: the longest sequence")
    type_vocab_size: int = option(2, "rows of the segment-type table")
    activation: Literal["gelu", "gelu_tanh"] = option(
        "gelu", "erf GELU (paper, Hugging Face) or its tanh approximation (Google code since 2019-02)"
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


def _bert(name: str, num_layers: int, hidden_size: int) -> ModelConfig:
    """Every published BERT has heads of 64 and an MLP four times the width."""
    return ModelConfig(
        preset=name,
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=hidden_size // 64,
        mlp_size=4 * hidden_size,
    )


# Devlin et al. 2019 (base, large); Turc et al. 2019, table 1 (the smaller ones).
PRESETS: dict[str, ModelConfig] = {
    config.preset: config
    for config in (
        _bert("bert-tiny", 2, 128),
        _bert("bert-mini", 4, 256),
        _bert("bert-small", 4, 512),
        _bert("bert-medium", 8, 512),
        _bert("bert-base", 12, 768),
        _bert("bert-large", 24, 1024),
    )
}


def parameter_count(model: str | ModelConfig) -> int:
    """Exact number of parameters of the encoder with its pooler, without allocating any.

    The published figures count this part (bert-base: 109,482,240); pretraining heads come on top.
    """
    from bert_jax.models import bert  # jax only when a count is asked for

    config = PRESETS[model] if isinstance(model, str) else model
    return bert.count_parameters(config)
