"""A tiny model for each architecture of the papers; odd sizes, so that no two axes can be confused."""

from __future__ import annotations

import numpy as np

from bert_jax.config.model import ModelConfig
from tests.configs import changed, model

_SIZES = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_heads": 3,
    "num_layers": 2,
    "mlp_size": 40,
    "max_positions": 20,
}
_DEBERTA = {"positions": "disentangled", "type_vocab_size": 0, "pooler": "none", "relative__span": 6}
_DEBERTA_V2 = {
    **_DEBERTA, "family": "deberta_v2", "relative__span": 12, "relative__buckets": 6,
    "relative__projections": "shared", "relative__norm": True,
}  # fmt: skip

_MODERN = {
    "type_vocab_size": 0, "pooler": "none", "biases": False, "positions": "rotary", "norm__place": "before",
    "norm__eps": 1e-5,
}  # fmt: skip

VARIANTS: dict[str, ModelConfig] = {
    name: model(preset=name, **{**_SIZES, **fields})
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
        "deberta": {"family": "deberta", **_DEBERTA, "relative__key_bias": False, "relative__mask_decoder": True},
        "deberta-v2": {**_DEBERTA_V2, "relative__convolution": 3, "relative__mask_decoder": True},
        "deberta-v3": {**_DEBERTA_V2, "relative__mask_decoder": True, "pooler": "gelu"},
        "modernbert": {
            **_MODERN, "family": "modernbert", "mlp": "geglu", "norm__bias": False, "norm__first": False,
            "rotary__base": 160_000.0, "pattern": ("global", "local", "local"), "window": 2, "num_layers": 8,
        },
        "neobert": {
            **_MODERN, "family": "neobert", "mlp": "swiglu", "norm__kind": "rms", "norm__embeddings": False,
            "rotary__pairs": "neighbours", "mlm_head__transform": False, "mlm_head__tied": False,
        },
        "mosaicbert": {"positions": "alibi", "mlp": "geglu", "pooler": "none"},
        "crammed-bert": {
            **_MODERN, "positions": "sinusoidal", "mlp": "geglu", "mlm_head__transform": False,
        },
    }.items()
}  # fmt: skip


def variant(name: str, **fields) -> ModelConfig:
    return changed(VARIANTS[name], **fields)


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


def shapes_below(place: str, config: ModelConfig):
    """The shapes of the parameters that a model of `config` has below `place`, nested by name."""
    import jax

    from bert_jax.models.declare import rows_below, shape

    return jax.tree.map(
        lambda row: jax.ShapeDtypeStruct(shape(row, config), "float32"), rows_below(place, config)
    )


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
