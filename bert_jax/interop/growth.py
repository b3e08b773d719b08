"""A larger model's parameters from a smaller one's: axes tiled, layers repeated.

Width: of an axis that grows from n to m, number j is number (j - (m - n) // 2) mod n of the smaller model's, which so lies
whole in the middle and wraps around on both sides. Heads are tiled whole: the size of a head stays.
Depth: layer i of m is layer round(i n / m) of the smaller model's n, and at most its last.
Both are how ModernBERT-large was made of base (Warner et al. 2024, section 2; the released code), after phi-2's tiling and
Gopher's layers (Rae et al. 2021). What is computed is not the same: sums over a tiled axis are larger.

Rows of tables (vocabulary, positions, segment types) are left to `transfer`, as for any model that a run begins with.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_jax.config.model import ModelConfig
from bert_jax.errors import UserError
from bert_jax.models.parameters import TABLE, flatten, nest, part, sizes

_SIZES = ("hidden_size", "embedding_size", "num_layers", "num_heads", "mlp_size")
_TILED = "DdEHF"
"""Letters of `models.parameters` that are tiled where they grow."""
_LAYER = re.compile(r"/layer_(\d+)/")


class Grown(NamedTuple):
    """A model of the sizes of another."""

    config: ModelConfig
    params: Mapping[str, Any]
    """nested, NumPy"""
    lines: tuple[str, ...]
    """a sentence for each size that grew; (): none did"""


def grow(params: Mapping[str, Any], config: ModelConfig, *, to: ModelConfig, place: str) -> Grown:
    """`params` of `config` in the sizes of `to`; whatever else differs is as in `config`.

    place: the smaller model's name for messages.

    Raises:
      UserError: a size of `to` is smaller, or its heads have another size.
    """
    larger = _in_sizes_of(to, config)
    _check(config, larger, place)
    origin = layer_origin(config.num_layers, larger.num_layers)
    before, after = sizes(config), sizes(larger)
    made = {}
    for path, leaf in flatten(params).items():
        row = TABLE.row(path, np.shape(leaf))
        tiled = np.asarray(leaf, np.float32)
        for axis, letter in enumerate(row.axes):
            if letter in _TILED:
                tiled = np.take(tiled, tile_origin(before[letter], after[letter]), axis=axis)
        made.update(dict.fromkeys(_places(path, row.path, larger, origin), tiled))
    return Grown(larger, nest(made), tuple(_lines(config, larger, origin)))


def tile_origin(size: int, to: int) -> np.ndarray:
    """Which of `size` numbers each of `to` is, [to]."""
    return (np.arange(to) - (to - size) // 2) % size


def layer_origin(layers: int, to: int) -> list[int]:
    """Which of `layers` layers each of `to` is. Half is rounded to even, as in the released code."""
    return [min(round(i * layers / to), layers - 1) for i in range(to)]


def _in_sizes_of(to: ModelConfig, config: ModelConfig) -> ModelConfig:
    grown = {name: getattr(to, name) for name in _SIZES}
    if 0 in (config.embedding_size, to.embedding_size):  # a projection is there or not: no matter of size
        grown["embedding_size"] = config.embedding_size
    return dataclasses.replace(config, **grown)


def _check(config: ModelConfig, larger: ModelConfig, place: str) -> None:
    smaller = [
        f"{name}={getattr(larger, name)} must be >= {getattr(config, name)}"
        for name in _SIZES
        if getattr(larger, name) < getattr(config, name)
    ]
    if not smaller and larger.head_dim != config.head_dim:
        smaller = [
            f"hidden_size={larger.hidden_size} / num_heads={larger.num_heads} = {larger.head_dim} must be"
            f" {config.head_dim}, for heads are tiled whole"
        ]
    if smaller:
        raise UserError(f"{place}: does not grow into the run's model, whose {', '.join(smaller)}")


def _places(path: str, row: str, larger: ModelConfig, origin: Sequence[int]) -> Iterator[str]:
    """The paths in the larger model of what stands at `path`, of the table's `row`, in the smaller one.

    Where layers share, the first of a group has the parameters, and it is made of the first of the same group.
    """
    found = _LAYER.search(path)
    if not found:
        yield path
        return
    which = part(row)
    for layer, source in enumerate(origin):
        if source == int(found[1]) and larger.owner(which, layer) == layer:
            yield f"{path[: found.start()]}/layer_{layer}/{path[found.end() :]}"


def _lines(config: ModelConfig, larger: ModelConfig, origin: Sequence[int]) -> Iterator[str]:
    for name in _SIZES:
        before, after = getattr(config, name), getattr(larger, name)
        if before != after:
            how = f"layers {','.join(map(str, origin))}" if name == "num_layers" else "tiled"
            yield f"{name}: {before:,} -> {after:,}, {how}"
