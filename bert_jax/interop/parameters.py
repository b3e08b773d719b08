"""Our parameter tree: every parameter's path, its axes, and the configs that have it.

Letters are the axes of `models.axes`. Besides, `d` is D on the output side of a D x D projection, `Y` the rows
of the type table, `1` one. Beside our order of the axes stands a torch module's, whose letters written together
are one axis: a torch Linear keeps [out, in], ours [in, out] with the heads as axes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from bert_jax.config.presets import ModelConfig

LAYER = "bert/encoder/layer_{i}/"

HEADS = ("bert/pooler", "mlm_head", "pair_head", "rtd_head")
"""The parts a checkpoint may lack; the rest, embeddings and layers, is the encoder."""

Axes = tuple[str, str]


def _dense(path: str, ins: str, outs: str) -> dict[str, Axes]:
    return {f"{path}/kernel": (ins + outs, f"{outs} {ins}"), f"{path}/bias": (outs, outs)}


def _norm(path: str, axis: str) -> dict[str, Axes]:
    return {f"{path}/scale": (axis, axis), f"{path}/bias": (axis, axis)}


TREE: dict[str, Axes] = {
    "bert/embeddings/token": ("VE", "V E"),
    "bert/embeddings/position": ("SE", "S E"),
    "bert/embeddings/type": ("YE", "Y E"),
    **_norm("bert/embeddings/norm", "E"),
    **_dense("bert/embeddings/projection", "E", "D"),
    **_dense(f"{LAYER}attention/query", "D", "HK"),
    **_dense(f"{LAYER}attention/key", "D", "HK"),
    **_dense(f"{LAYER}attention/value", "D", "HK"),
    **_dense(f"{LAYER}attention/position_key", "D", "HK"),
    **_dense(f"{LAYER}attention/position_query", "D", "HK"),
    **_dense(f"{LAYER}attention/output", "HK", "D"),
    **_norm(f"{LAYER}attention_norm", "D"),
    **_dense(f"{LAYER}mlp_in", "D", "F"),
    **_dense(f"{LAYER}mlp_out", "F", "D"),
    **_norm(f"{LAYER}mlp_norm", "D"),
    "bert/encoder/relative/table": ("RD", "R D"),
    **_norm("bert/encoder/relative/norm", "D"),
    "bert/encoder/convolution/kernel": ("WDd", "d D W"),
    "bert/encoder/convolution/bias": ("d", "d"),
    **_norm("bert/encoder/convolution/norm", "D"),
    **_dense("bert/pooler/dense", "D", "d"),
    **_dense("mlm_head/dense", "D", "E"),
    **_norm("mlm_head/layer_norm", "E"),
    "mlm_head/bias": ("V", "V"),
    **_dense("pair_head/dense", "D", "C"),
    **_dense("rtd_head/dense", "D", "d"),
    **_dense("rtd_head/output", "D", "1"),
}
"""Path (of a layer with {i}) -> (our axes, a torch module's)."""


def _is_disentangled(config: ModelConfig) -> bool:
    return config.attention == "disentangled"


def _projects(term: str) -> Callable[[ModelConfig], bool]:
    def asks(config: ModelConfig) -> bool:
        separate = config.relative_projections == "separate"
        return _is_disentangled(config) and separate and term in config.relative_terms

    return asks


# Start of a path -> whether a config has the parameters there. What no line names is always there.
_CONDITIONS: dict[str, Callable[[ModelConfig], bool]] = {
    "bert/embeddings/position": lambda c: not _is_disentangled(c) or c.enhanced_mask_decoder,
    "bert/embeddings/type": lambda c: c.type_vocab_size > 0,
    "bert/embeddings/projection": lambda c: c.embedding_size > 0,
    f"{LAYER}attention/key/bias": lambda c: c.key_bias,
    f"{LAYER}attention/position_key/": _projects("c2p"),
    f"{LAYER}attention/position_key/bias": lambda c: c.key_bias,
    f"{LAYER}attention/position_query/": _projects("p2c"),
    "bert/encoder/relative/": _is_disentangled,
    "bert/encoder/relative/norm/": lambda c: c.relative_norm,
    "bert/encoder/convolution/": lambda c: _is_disentangled(c) and c.convolution > 0,
    "bert/pooler/": lambda c: c.pooler != "none",
    "pair_head/": lambda c: c.pooler != "none",
}


def is_asked_for(path: str, config: ModelConfig) -> bool:
    """Whether a model of `config` has the parameter at `path` of `TREE` (a head's: once it has the head)."""
    return all(asks(config) for start, asks in _CONDITIONS.items() if path.startswith(start))


def sizes(config: ModelConfig) -> dict[str, int]:
    """Letter -> length."""
    return {
        "V": config.vocab_size, "E": config.embedding_width, "D": config.hidden_size, "d": config.hidden_size,
        "H": config.num_heads, "K": config.head_dim, "F": config.mlp_size, "S": config.position_rows,
        "Y": config.type_vocab_size, "R": config.relative_rows, "W": config.convolution, "C": 2, "1": 1,
    }  # fmt: skip


def part(path: str) -> Literal["attention", "ffn"]:
    """Which part of a layer a path that starts with `LAYER` belongs to: what `config.owner` is asked about."""
    return "attention" if path.startswith(f"{LAYER}attention") else "ffn"


def head(path: str) -> str | None:
    """The one of `HEADS` a path belongs to; None for the encoder."""
    return next((name for name in HEADS if path.startswith(f"{name}/")), None)


def flatten(tree: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    """Nested parameters as {path: leaf}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{start}{key}/"))
        else:
            flat[start + key] = value
    return flat


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{path: leaf} as nested parameters."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *groups, leaf = path.split("/")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    return tree
