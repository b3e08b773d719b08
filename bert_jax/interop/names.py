"""One table: our parameters and Hugging Face's tensors, read in both directions.

`parameters` has our tree with its axes, `families` the names; here they are joined for a config, with the
shapes and layouts of both sides.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from bert_jax.config.model import ModelConfig
from bert_jax.errors import UserError
from bert_jax.interop.config_fields import written_layers
from bert_jax.interop.families import FAMILIES, Family
from bert_jax.models.parameters import HEADS, LAYER, TABLE, Parameter, flatten, head, nest, part, sizes

__all__ = ["HEADS", "Entry", "canonical", "from_hf", "heads_in", "listed", "table", "to_hf"]

_FUSED = "Q"  # the axis of the parameters that one tensor holds


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tensor under both names; `ours` has several where they are fused into it.

    our_axes, their_axes: letters of `parameters`, their groups parted by spaces; lengths: of each letter.
    """

    ours: tuple[str, ...]
    theirs: str
    our_axes: str
    their_axes: str
    lengths: Mapping[str, int]

    @property
    def our_shape(self) -> tuple[int, ...]:
        return tuple(self.lengths[axis] for axis in self.our_axes)

    @property
    def their_shape(self) -> tuple[int, ...]:
        return tuple(math.prod(self.lengths[axis] for axis in group) for group in self.their_axes.split())

    @property
    def head(self) -> str | None:
        """The one of `HEADS` this belongs to; None for the encoder."""
        return head(self.ours[0])

    def to_hf(self, arrays: Iterable[np.ndarray]) -> np.ndarray:
        """Arrays of `our_shape`, in the order of `ours`, in Hugging Face's layout, contiguous."""
        stacked, order = np.stack(list(arrays)), _FUSED + self.our_axes
        letters = self._letters()
        moved = stacked.transpose([order.index(axis) for axis in letters])
        return np.ascontiguousarray(moved.reshape(self.their_shape))

    def from_hf(self, array: np.ndarray) -> tuple[np.ndarray, ...]:
        """`array` of `their_shape` as ours, contiguous."""
        letters, order = self._letters(), _FUSED + self.our_axes
        lengths = {**self.lengths, _FUSED: len(self.ours)}
        split = array.reshape([lengths[axis] for axis in letters])
        return tuple(np.ascontiguousarray(a) for a in split.transpose([letters.index(x) for x in order]))

    def _letters(self) -> str:
        letters = self.their_axes.replace(" ", "")
        return letters if _FUSED in letters else _FUSED + letters


def table(config: ModelConfig) -> tuple[Entry, ...]:
    """Every tensor of the config's family, heads included, for which `config` has parameters.

    A task head's names are those of the family's class for it.

    Where layers share a part that the family does not, several tensors have one parameter of ours.
    """
    family, lengths = FAMILIES[config.family], sizes(config)
    layers, modules = written_layers(config), family.names_with(config.head)

    def rows() -> Iterator[tuple[Parameter, tuple[str, ...], str, str]]:
        for paths, theirs, their_axes in family.fused:
            first = next(row for row in TABLE.rows if row.path == paths[0])
            yield first, paths, theirs, their_axes
        for row in TABLE.rows:
            name = _name(modules, row.path)
            if name and row.exists(config):
                yield row, (row.path,), name, row.torch

    def entries() -> Iterator[Entry]:
        for row, paths, theirs, their_axes in rows():
            our_axes = row.axes
            all_lengths = {**lengths, _FUSED: len(paths)}
            if not paths[0].startswith(LAYER):
                yield Entry(paths, theirs, our_axes, their_axes, all_lengths)
                continue
            for written in (i for i in range(layers) if row.in_layer(config, i)):
                owner = config.owner(part(paths[0]), written * config.num_layers // layers)
                ours = tuple(path.format(i=owner) for path in paths)
                yield Entry(ours, theirs.format(i=written), our_axes, their_axes, all_lengths)

    return tuple(entries())


def _name(modules: Mapping[str, str], path: str) -> str | None:
    """The family's name of a parameter, or None where it has none of its own."""
    if path in modules:
        return modules[path]
    module, _, leaf = path.rpartition("/")
    if module not in modules:
        return None
    return f"{modules[module]}.{'bias' if leaf == 'bias' else 'weight'}"


def to_hf(
    params: Mapping[str, Any], config: ModelConfig, *, heads: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Our nested parameters (or gradients) as {Hugging Face name: float32 array}.

    heads: the ones of `HEADS` to take; None: all that the family has and `params` holds.

    Raises:
      UserError: a parameter of the encoder or of a head is missing or has another shape, or there is one
        that `config` has no place for.
    """
    rest, tensors = flatten(params), {}
    wanted = heads_in(params) if heads is None else heads
    entries = [entry for entry in table(config) if entry.head is None or entry.head in wanted]
    for entry in entries:
        arrays = []
        for path in entry.ours:
            if path not in rest:
                raise UserError(
                    f"parameter {path} of shape {entry.our_shape} is missing: Hugging Face's"
                    f" {FAMILIES[config.family].model_type} needs the whole encoder and whole heads"
                )
            array = np.asarray(rest[path], np.float32)
            if array.shape != entry.our_shape:
                raise UserError(
                    f"parameter {path} has shape {array.shape}, the config says {entry.our_shape}:"
                    " parameters and config must come from the same run"
                )
            arrays.append(array)
        tensors[entry.theirs] = entry.to_hf(arrays)
    taken = {path for entry in entries for path in entry.ours}
    extra = [path for path in rest.keys() - taken if head(path) is None]
    if extra:
        raise UserError(
            f"parameters that the config, {config.num_layers} layers of family {config.family!r}, has no place"
            f" for: {listed(extra)}; parameters and config must come from the same run"
        )
    return tensors


def from_hf(tensors: Mapping[str, np.ndarray], config: ModelConfig) -> dict[str, Any]:
    """The table's tensors among `tensors` as our nested float32 parameters; absent ones stay absent.

    Shapes must be the table's (`interop.load` checks them where they come from a file).
    """
    flat: dict[str, np.ndarray] = {}
    for entry in table(config):
        if entry.theirs in tensors:
            arrays = entry.from_hf(np.asarray(tensors[entry.theirs], np.float32))
            flat.update(zip(entry.ours, arrays, strict=True))
    return nest(flat)


def heads_in(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The ones of `HEADS` that nested parameters hold, if only in part."""
    found = {head(path) for path in flatten(params)}
    return tuple(name for name in HEADS if name in found)


def canonical(name: str, family: Family) -> str:
    """A tensor's name as the table has it: encoders are saved without their prefix, TF1's LayerNorms say gamma."""
    if name.split(".")[0] in _roots(family):
        name = f"{family.prefix}.{name}"
    for old, new in ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias")):
        name = name.removesuffix(old) + new if name.endswith(old) else name
    for old, new in family.renamed.items():
        name = new + name.removeprefix(old) if name.startswith(old) else name
    return name


def _roots(family: Family) -> set[str]:
    """What the encoder's names start with where the prefix is left out: embeddings, encoder and so on."""
    start = f"{family.prefix}."
    return {name.split(".")[1] for name in family.names.values() if name.startswith(start)}


def listed(names: Iterable[str], most: int = 5) -> str:
    """`a, b, c and 7 more`: names for a one-line message."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
