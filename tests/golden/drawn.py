"""Weights and batches drawn at random, the same on every machine: the inputs of the goldens and of the live
comparison. NumPy only.

Nothing is left at a neutral value, so nothing can hide: biases are not 0, LayerNorm scales not 1, no
two sizes are equal, lengths are odd, rows are padded, prediction slots are unused. Real tokens are
never [PAD]: torch's padding_idx stops the gradient of that one embedding, which BERT itself did not.
"""

from __future__ import annotations

import math
import zlib

import numpy as np

from bert_jax.config.model import ModelConfig
from bert_jax.interop import names


def weights(config: ModelConfig, heads: tuple[str, ...], *, seed: int) -> dict[str, np.ndarray]:
    """Every tensor of the encoder and of `heads` (out of `names.HEADS`) under its Hugging Face name.

    Philox's raw bits, keyed by seed and name, as uniform numbers: NumPy keeps their stream for ever, which it
    does not of its distributions.
    """
    tensors = {}
    for entry in names.table(config):
        if entry.head is not None and entry.head not in heads:
            continue
        shape = entry.their_shape
        bits = np.random.Philox(key=[seed, zlib.crc32(entry.theirs.encode())]).random_raw(math.prod(shape))
        unit = ((bits >> np.uint64(11)) * 2.0**-53 - 0.5).reshape(shape) * 12**0.5  # mean 0, deviation 1
        if entry.ours[0].endswith("/scale"):
            value = 1 + 0.3 * unit
        elif len(shape) == 1:
            value = 0.2 * unit
        else:  # large enough for attention to be far from uniform
            value = unit / math.prod(shape[1:]) ** 0.5
        tensors[entry.theirs] = value.astype(np.float32)
    return tensors


def batch(config: ModelConfig, *, rows: int, length: int, slots: int, seed: int) -> dict[str, np.ndarray]:
    """Random rows in the contract of bert_jax.batch: the first full, the others padded; sentence A and B
    where there are two types; between 1 and `slots` predictions a row, each at a real token. Besides,
    rtd_labels_BL: 1 for "replaced"."""
    rng = np.random.default_rng(seed)
    pad = max(0, config.position_offset - 1)
    positions = np.broadcast_to(np.arange(length), (rows, length))
    lengths = rng.integers(slots + 1, length, rows)
    lengths[0] = length
    real = positions < lengths[:, None]
    second = (positions >= lengths[:, None] // 2) & real & (config.type_vocab_size > 1)
    used = np.arange(slots) < rng.integers(1, slots + 1, rows)[:, None]
    used[0] = True
    chosen = np.stack([np.sort(rng.permutation(n)[:slots]) for n in lengths])
    fields = {
        "tokens_BL": np.where(real, rng.integers(pad + 1, config.vocab_size, (rows, length)), pad),
        "type_ids_BL": second,
        "pack_ids_BL": real,
        "positions_BL": positions,
        "mlm_positions_BM": chosen * used,
        "mlm_targets_BM": rng.integers(pad + 1, config.vocab_size, (rows, slots)) * used,
        "mlm_weights_BM": used,
        "first_BP": np.zeros((rows, 1)),
        "pair_labels_BP": rng.integers(0, 2, (rows, 1)),
        "pair_weights_BP": np.ones((rows, 1)),
        "example_ids_B": np.arange(rows),
        "rtd_labels_BL": rng.integers(0, 2, (rows, length)) * real,
    }
    kinds = {"mlm_weights_BM": np.float32, "pair_weights_BP": np.float32, "example_ids_B": np.uint32}
    return {name: value.astype(kinds.get(name, np.int32)) for name, value in fields.items()}
