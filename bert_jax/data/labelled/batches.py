"""Batches of features: each a pure function of (seed, step), with exactly `batch_size` examples in as few rows as hold
them.

Examples of a row do not attend to each other (`pack_ids_BL`), and every loss is a sum over examples, so a step has the
loss and gradients of each example alone, whatever rows they share.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from bert_jax.batch import Batch, BatchSpec, Host
from bert_jax.data.labelled.features import Features
from bert_jax.data.labelled.packing import best_fit, rounded_up, row_sizes
from bert_jax.data.random import fold, root

_SAMPLE = 256
"""Steps whose rows are counted to choose the shapes."""
_CHUNK = 4096
"""Examples of an evaluation that are packed together."""
_LEAST = 128
"""Tokens of a row at least: short ones waste more of their end."""


class FinetuneBatch(Batch, total=False):
    """The fields that batches of labelled examples have besides those of every batch."""

    features_BP: np.ndarray
    """number of the sequence in a place of a row, from 0; -1: there is none"""
    weights_BP: np.ndarray
    """1 where there is a sequence"""
    labels_BP: np.ndarray
    """class of each text"""
    labels_BPC: np.ndarray
    """1 for each label that a text has"""
    targets_BP: np.ndarray
    """number of each text"""
    tags_BL: np.ndarray
    """class of the word that begins at a token; -1: none does, or another window scores it"""
    words_BL: np.ndarray
    """number of that word in the whole set, from 0; else -1"""
    starts_BP: np.ndarray
    """position of the first token of each window's answer; of its [CLS] where it holds none"""
    ends_BP: np.ndarray
    """position of the last token of each window's answer; of its [CLS] where it holds none"""


FIELDS: dict[str, type] = {
    "tokens_BL": np.int32,
    "type_ids_BL": np.int32,
    "pack_ids_BL": np.int32,
    "positions_BL": np.int32,
    "first_BP": np.int32,
    "features_BP": np.int32,
    "weights_BP": np.float32,
    "example_ids_B": np.uint32,
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """The rows of a set of features."""

    length: int
    """L, of packed rows; of padded ones the longest"""
    units: int
    """units that may share a row"""
    spec: BatchSpec

    @classmethod
    def of(cls, features: Features, *, batching: Literal["pack", "pad"], batch_size: int) -> Layout:
        """The layout for `features`."""
        lengths_U = features.lengths_U
        longest = rounded_up(int(lengths_U.max()), 8)
        if batching == "pad":
            length, units = longest, 1
        else:
            length = rounded_up(max(longest, _LEAST), 32)
            usual = max(1, int(0.6 * lengths_U.mean()))
            units = min(batch_size, max(1, length // usual))
        fields = {**FIELDS, **field_types(features)}
        sizes = {"L": length, "P": units * features.parts, **_own_sizes(features)}
        return cls(length, units, BatchSpec(fields, sizes))


def field_types(features: Features) -> dict[str, type]:
    """The fields that the features' own groups become."""
    return {_field(name): array.dtype.type for name, array in _own(features).items()}


def _own_sizes(features: Features) -> dict[str, int]:
    """The lengths of the axes that the features' own groups bring along, such as C."""
    return {
        axis: size
        for name, array in _own(features).items()
        for axis, size in zip(name.rpartition("_")[2][1:], array.shape[1:], strict=True)
    }


def _own(features: Features) -> dict[str, np.ndarray]:
    return {**features.of_sequences, **features.of_tokens, **features.of_positions}


def _field(name: str) -> str:
    """ "labels_P" -> "labels_BP"."""
    stem, _, axes = name.rpartition("_")
    return f"{stem}_B{axes}"


class TrainingBatches:
    """The batches of a run: step s takes examples s x B to (s + 1) x B - 1 of the epochs' orders, one after another."""

    def __init__(
        self,
        features: Features,
        layout: Layout,
        *,
        batch_size: int,
        batching: Literal["pack", "pad"],
        seed: int,
        host: Host = Host(),
    ):
        self._features, self._layout, self._batch_size = features, layout, batch_size
        self._batching, self._seed, self._host = batching, seed, host
        self.rows = features.units
        self.count = -(-features.units // batch_size)

    def iterate(self, start: int, stop: int) -> Iterator[FinetuneBatch]:
        for step in range(start, stop):
            rows, length = self._rows(step)
            yield build(
                self._features,
                rows,
                self._layout.spec,
                length=length,
                size=self._size(len(rows)),
                host=self._host,
            )

    @functools.cached_property
    def tokens(self) -> float:
        """Token slots of a step, the mean of a sample."""
        count = min(_SAMPLE, self.count)
        sampled = [self._rows(step) for step in range(0, self.count, max(1, self.count // count))]
        return float(np.mean([self._size(len(rows)) * length for rows, length in sampled]))

    def _rows(self, step: int) -> tuple[list[list[int]], int]:
        """(the units of each row, L) of a step."""
        units = self.units(step)
        lengths = self._features.lengths_U[units]
        if self._batching == "pad":
            return [[unit] for unit in units.tolist()], padded(int(lengths.max()), self._layout.length)
        packed = best_fit(lengths, length=self._layout.length, most=self._layout.units)
        return [units[row].tolist() for row in packed], self._layout.length

    def units(self, step: int) -> np.ndarray:
        """The units of a step, int64 [B]."""
        total = self._features.units
        places = step * self._batch_size + np.arange(self._batch_size)
        epochs = places // total
        return np.concatenate(
            [self._order(int(epoch))[places[epochs == epoch] % total] for epoch in np.unique(epochs)]
        )

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            while len(self._orders) > 1:  # a batch touches two epochs, unless the set is smaller than a batch
                del self._orders[min(self._orders)]
            key = fold(root(self._seed), epoch)
            self._orders[epoch] = np.argsort(fold(key, np.arange(self._features.units)), kind="stable")
        return self._orders[epoch]

    @functools.cached_property
    def _orders(self) -> dict[int, np.ndarray]:
        return {}

    def _size(self, needed: int) -> int:
        """Rows of a batch that needs so many."""
        fitting = (size for size in self._sizes if size >= needed)
        return next(fitting, rounded_up(needed, self._host.multiple))

    @functools.cached_property
    def _sizes(self) -> tuple[int, ...]:
        steps = range(0, self.count, max(1, self.count // _SAMPLE))
        return row_sizes([len(self._rows(step)[0]) for step in steps], multiple=self._host.multiple)


class EvaluationBatches:
    """One pass over all features, in rows of one shape."""

    def __init__(self, features: Features, layout: Layout, *, batch_size: int, host: Host = Host()):
        self._features, self._layout, self._host = features, layout, host
        lengths_U = features.lengths_U
        self._packed: list[list[int]] = []
        for first in range(0, features.units, _CHUNK):
            rows = best_fit(lengths_U[first : first + _CHUNK], length=layout.length, most=layout.units)
            self._packed += [[first + unit for unit in row] for row in rows]
        self.rows = len(self._packed)
        """rows of one pass"""
        examples_a_row = features.units / self.rows
        self._size = rounded_up(min(self.rows, max(1, round(2 * batch_size / examples_a_row))), host.multiple)
        self.count = -(-self.rows // self._size)

    def iterate(self, start: int, stop: int) -> Iterator[FinetuneBatch]:
        for number in range(start, stop):
            first = number * self._size
            rows = self._packed[first : first + self._size]
            yield build(
                self._features,
                rows,
                self._layout.spec,
                length=self._layout.length,
                size=self._size,
                host=self._host,
                first_row=first,
            )


_BUCKETS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def padded(longest: int, most: int) -> int:
    """The length that rows of up to `longest` tokens are padded to, `most` at most."""
    return min(next((size for size in _BUCKETS if size >= longest), most), most)


def build(
    features: Features,
    rows: Sequence[Sequence[int]],
    spec: BatchSpec,
    *,
    length: int,
    size: int,
    host: Host,
    first_row: int = 0,
) -> FinetuneBatch:
    """This host's part of a batch of `size` rows of `length` tokens, of which the first hold the units of `rows`."""
    part = size // host.count
    mine = rows[host.index * part : (host.index + 1) * part]
    shaped = BatchSpec(spec.fields, {**spec.sizes, "L": length})
    batch = shaped.zeros(part)
    parts = features.parts
    seqs = np.array([unit * parts + p for row in mine for unit in row for p in range(parts)], np.int64)
    counts = np.array([len(row) * parts for row in mine], np.int64)
    row_X = np.repeat(np.arange(len(mine)), counts)
    slot_X = np.arange(len(seqs)) - np.repeat(np.cumsum(counts) - counts, counts)
    lengths_X = features.lengths_S[seqs].astype(np.int64)
    before_X = np.cumsum(lengths_X) - lengths_X  # tokens of all sequences before it
    in_row_X = before_X - np.repeat(before_X[np.cumsum(counts) - counts] if len(seqs) else before_X, counts)
    within = np.arange(int(lengths_X.sum())) - np.repeat(before_X, lengths_X)
    source = np.repeat(features.starts_S[seqs], lengths_X) + within
    place = np.repeat(row_X * length + in_row_X, lengths_X) + within

    for name, values in (
        ("tokens_BL", features.tokens_T[source]),
        ("type_ids_BL", features.type_ids_T[source]),
        ("pack_ids_BL", np.repeat(slot_X + 1, lengths_X)),
        ("positions_BL", within),
    ):
        batch[name].reshape(-1)[place] = values  # type: ignore[literal-required]
    for name, array in features.of_tokens.items():
        tokens = batch[_field(name)]  # type: ignore[literal-required]
        tokens[:] = -1
        tokens.reshape(-1, *array.shape[1:])[place] = array[source]
    batch["first_BP"][row_X, slot_X] = in_row_X
    batch["features_BP"][:] = -1  # type: ignore[typeddict-item]
    batch["features_BP"][row_X, slot_X] = seqs  # type: ignore[typeddict-item]
    batch["weights_BP"][row_X, slot_X] = 1  # type: ignore[typeddict-item]
    for name, array in features.of_sequences.items():
        batch[_field(name)][row_X, slot_X] = array[seqs]  # type: ignore[literal-required]
    for name, array in features.of_positions.items():
        batch[_field(name)][row_X, slot_X] = in_row_X + array[seqs]  # type: ignore[literal-required]
    batch["example_ids_B"][:] = first_row + host.index * part + np.arange(part)
    return batch  # type: ignore[return-value]
