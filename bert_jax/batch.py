"""The contract between data and model: the fields of a batch, their axes and types. NumPy only.

Axis letters, one meaning everywhere: B batch, L length, M masked slots, P packed examples a row,
D embed, H heads, K head dim, F mlp, V vocab. A name ends in its axes.

    tokens_BL         token ids, masked as the encoder sees them
    type_ids_BL       0 for sentence A, 1 for sentence B
    pack_ids_BL       which example of a packed row a token belongs to, from 1; 0 = padding
    positions_BL      position within the example
    mlm_positions_BM  the predicted positions; unused slots are 0 with weight 0
    mlm_targets_BM    the token that stood there
    mlm_weights_BM    1 for a prediction, 0 for an unused slot
    first_BP          position of each packed example's [CLS]; of one that a row lacks 0, with weight 0
    pair_labels_BP    NSP: 1 = B is from another document; SOP: 1 = A and B are swapped
    pair_weights_BP   1 where there is a label
    example_ids_B     global index of the row in the run (step * batch_size + row): the counter that
                      masks and dropout are keyed by, and the name a row has in an error message

Both `type_ids` and `pack_ids` are called "segment ids" elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bert_jax.config import Config
from bert_jax.config.rules import PAIR_FORMATS

Batch = Mapping[str, np.ndarray]

FIELDS: dict[str, type] = {
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


def shapes(config: Config, rows: int) -> dict[str, tuple[int, ...]]:
    """Shape of every field of a batch of `rows` rows under `config`."""
    sizes = {
        "B": rows,
        "L": config.data.sequence_length,
        "M": config.masking.max_predictions,
        "P": config.data.packing,
    }
    return {name: tuple(sizes[axis] for axis in name.rpartition("_")[2]) for name in FIELDS}


def synthetic(config: Config, rows: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """A full batch of uniform random tokens: the shapes and the arithmetic of training, no data.

    Every row is unpadded, of P examples of one length (to a token), and has M predictions at distinct
    positions, so FLOPs are exact. Rows too short for P examples have fewer.
    """
    rng = np.random.default_rng(seed)
    length, slots, packing = config.data.sequence_length, config.masking.max_predictions, config.data.packing
    has_pairs, has_labels = config.data.format in PAIR_FORMATS, config.data.sentence_objective != "none"
    count = min(packing, length // _SHORTEST)
    starts = np.arange(count + 1) * length // count
    example = np.repeat(np.arange(count), np.diff(starts))
    positions = np.arange(length) - starts[example]
    second = positions >= np.diff(starts)[example] // 2
    present = np.arange(packing) < count
    values = {
        "tokens_BL": rng.integers(0, config.model.vocab_size, (rows, length)),
        "type_ids_BL": np.broadcast_to(second & has_pairs, (rows, length)),
        "pack_ids_BL": np.broadcast_to(example + 1, (rows, length)),
        "positions_BL": np.broadcast_to(positions, (rows, length)),
        "mlm_positions_BM": np.sort(rng.random((rows, length)).argsort(axis=1)[:, :slots], axis=1),
        "mlm_targets_BM": rng.integers(0, config.model.vocab_size, (rows, slots)),
        "mlm_weights_BM": np.ones((rows, slots)),
        "first_BP": np.broadcast_to(np.resize(starts[:-1], packing) * present, (rows, packing)),
        "pair_labels_BP": rng.integers(0, 2, (rows, packing)) * present,
        "pair_weights_BP": np.broadcast_to(present & has_labels, (rows, packing)),
        "example_ids_B": np.arange(rows),
    }
    return {name: values[name].astype(dtype) for name, dtype in FIELDS.items()}


_SHORTEST = 5  # tokens of an example: [CLS] a [SEP] b [SEP]
