"""Batches of random tokens in pretraining's shapes: the arithmetic of training without data."""

from __future__ import annotations

import numpy as np

from bert_jax.batch import Batch, pretraining_spec
from bert_jax.config import PretrainConfig
from bert_jax.config.pretrain_rules import PAIR_FORMATS

_SHORTEST = 5  # tokens of an example: [CLS] a [SEP] b [SEP]


def synthetic(config: PretrainConfig, rows: int, *, seed: int = 0) -> Batch:
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
    fields = pretraining_spec(config).fields
    return {name: values[name].astype(dtype) for name, dtype in fields.items()}  # type: ignore[return-value]
