"""A tiny model for each architecture of the papers; odd sizes, so that no two axes can be confused."""

from __future__ import annotations

import dataclasses

import numpy as np

from bert_jax.config.model import ModelConfig

_SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_heads": 3,
    "num_layers": 2,
    "mlp_size": 40,
    "max_positions": 20,
}
_DEBERTA = {"attention": "disentangled", "type_vocab_size": 0, "pooler": "none", "relative_span": 6}
_DEBERTA_V2 = {
    **_DEBERTA, "family": "deberta_v2", "relative_span": 12, "relative_buckets": 6,
    "relative_projections": "shared", "relative_norm": True,
}  # fmt: skip

VARIANTS: dict[str, ModelConfig] = {
    name: ModelConfig(preset=name, **{**_SIZES, **fields})
    for name, fields in {
        "bert": {},
        "roberta": {"family": "roberta", "type_vocab_size": 1, "position_offset": 2, "pooler": "none"},
        "albert": {"family": "albert", "embedding_size": 10, "sharing": "all", "activation": "gelu_tanh"},
        "albert-groups": {
            "family": "albert", "embedding_size": 10, "sharing": "all", "groups": 2, "num_layers": 4,
        },
        "shared-attention": {"sharing": "attention"},
        "shared-ffn": {"sharing": "ffn"},
        "electra": {"family": "electra", "embedding_size": 10, "pooler": "none"},
        "distilbert": {"family": "distilbert", "type_vocab_size": 0, "pooler": "none"},
        "deberta": {"family": "deberta", **_DEBERTA, "key_bias": False, "enhanced_mask_decoder": True},
        "deberta-v2": {**_DEBERTA_V2, "convolution": 3, "enhanced_mask_decoder": True},
        "deberta-v3": {**_DEBERTA_V2, "enhanced_mask_decoder": True, "pooler": "gelu"},
    }.items()
}  # fmt: skip


def variant(name: str, **fields) -> ModelConfig:
    return dataclasses.replace(VARIANTS[name], **fields)


def row(*examples: np.ndarray, length: int = 20, slots: int = 20) -> dict[str, np.ndarray]:
    """One row of the batch contract that holds `examples` [tokens] side by side, then padding; segment types
    alternate, and every position is a prediction slot."""
    lengths = [len(example) for example in examples]
    pad = (0, length - sum(lengths))
    starts = np.cumsum([0, *lengths[:-1]])
    return {
        "tokens_BL": np.pad(np.concatenate(examples), pad)[None],
        "type_ids_BL": np.pad(np.concatenate([np.arange(n) % 2 for n in lengths]), pad)[None],
        "pack_ids_BL": np.pad(np.repeat(np.arange(1, len(lengths) + 1), lengths), pad)[None],
        "positions_BL": np.pad(np.concatenate([np.arange(n) for n in lengths]), pad)[None],
        "mlm_positions_BM": np.arange(slots)[None],
        "first_BP": starts[None],
        "example_ids_B": np.zeros(1, np.uint32),
    }


def random_params(params, seed: int = 0):
    """Parameters like `params`, far from initial values: biases are not 0, LayerNorm scales not 1."""
    import jax

    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        if path[-1].key == "scale":
            return 1 + 0.3 * noise
        return (0.2 if leaf.ndim == 1 else 0.3) * noise

    return jax.tree_util.tree_map_with_path(draw, params)
