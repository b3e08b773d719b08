"""The contract between data and model: the fields of a batch, their axes and types. NumPy only.

Axis letters, one meaning everywhere: B batch, L length, M masked slots, P packed examples a row,
D embed, H heads, K head dim, F mlp, V vocab. A name ends in its axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol, TypedDict

import numpy as np

from bert_jax.config import PretrainConfig

Array = Any
"""NumPy's on the host, JAX's on the devices."""


class Batch(TypedDict, total=False):
    """The fields that batches of the tasks here have; a task with others declares a subclass beside itself.

    A dictionary, so that tf.data, jit and pmap take it as it is; typed, so that mypy finds a misspelt field. Both
    `type_ids` and `pack_ids` are called "segment ids" elsewhere.
    """

    tokens_BL: Array
    """token ids, masked as the encoder sees them"""
    type_ids_BL: Array
    """0 for sentence A, 1 for sentence B"""
    pack_ids_BL: Array
    """which example of a packed row a token belongs to, from 1; 0 = padding"""
    positions_BL: Array
    """position within the example"""
    mlm_positions_BM: Array
    """the predicted positions; unused slots are 0 with weight 0"""
    mlm_targets_BM: Array
    """the token that stood there"""
    mlm_weights_BM: Array
    """1 for a prediction, 0 for an unused slot"""
    first_BP: Array
    """position of each packed example's [CLS]; of one that a row lacks 0, with weight 0"""
    pair_labels_BP: Array
    """NSP: 1 = B is from another document; SOP: 1 = A and B are swapped"""
    pair_weights_BP: Array
    """1 where there is a label"""
    example_ids_B: Array
    """global index of the row in the run: the counter that masks and dropout are keyed by, and the name that a row
    has in an error message"""


@dataclasses.dataclass(frozen=True)
class BatchSpec:
    """The fields of a task's batches with their types, and the length of each axis but B."""

    fields: Mapping[str, type]
    sizes: Mapping[str, int]

    @property
    def length(self) -> int:
        """L, token slots of a row."""
        return self.sizes["L"]

    def shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
        """The shape of every field of a batch of `rows` rows, by the axis letters at the end of its name."""
        lengths = {**self.sizes, "B": rows}
        return {name: tuple(lengths[axis] for axis in name.rpartition("_")[2]) for name in self.fields}

    def zeros(self, rows: int) -> Batch:
        """A batch of zeros: its shapes and types."""
        shapes = self.shapes(rows)
        return {name: np.zeros(shapes[name], dtype) for name, dtype in self.fields.items()}  # type: ignore[return-value]


Split = Literal["train", "eval"]


@dataclasses.dataclass(frozen=True)
class Host:
    """This process among those that feed one run: it produces part `index` of `count` equal parts of the rows."""

    index: int = 0
    count: int = 1
    multiple: int = 1
    """what the rows of a batch must be a multiple of: devices that split rows x micro-batches"""


class BatchSource(Protocol):
    """The batches of one split: each is a pure function of its number."""

    @property
    def count(self) -> int:
        """Batches of one pass."""
        ...

    @property
    def rows(self) -> int:
        """Rows of one pass; the last batch is filled up behind them."""
        ...

    def iterate(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches `start` to `stop` - 1 of this process: by step in training, by their place in an evaluation."""
        ...


PRETRAINING: dict[str, type] = {
    "tokens_BL": np.int32,
    "type_ids_BL": np.int32,
    "pack_ids_BL": np.int32,
    "positions_BL": np.int32,
    "mlm_positions_BM": np.int32,
    "mlm_targets_BM": np.int32,
    "mlm_weights_BM": np.float32,
    "first_BP": np.int32,
    "pair_labels_BP": np.int32,
    "pair_weights_BP": np.float32,
    "example_ids_B": np.uint32,
}
"""The fields of pretraining, in the order of the pipeline."""


def pretraining_spec(config: PretrainConfig) -> BatchSpec:
    """The batches of `config`, which has no phases of its own."""
    return BatchSpec(
        PRETRAINING,
        {
            "L": config.data.sequence_length,
            "M": config.masking.max_predictions,
            "P": config.data.packing,
        },
    )
