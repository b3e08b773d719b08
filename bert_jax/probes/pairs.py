"""Labelled pairs of segments, unmasked: the same ones for every run over a corpus."""

from __future__ import annotations

import dataclasses

import numpy as np

from bert_jax.config import PretrainConfig
from bert_jax.data.batches.rows import Rows, assemble
from bert_jax.data.corpus.shards import TokenShards
from bert_jax.data.instances.index import Split, load_index
from bert_jax.errors import UserError

_SEED = 0


@dataclasses.dataclass(frozen=True)
class LabelledPairs:
    """N rows of one pair each, as the corpus has them. Axes as in `bert_jax.batch`."""

    rows: Rows
    labels_N: np.ndarray
    """nsp: 1 = B is from another document; sop: 1 = A and B are swapped"""

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def lengths_N2(self) -> np.ndarray:
        """Tokens of A and of B: all that a classifier needs that is fooled by how rows are cut."""
        b_N = self.rows.type_ids_BL.sum(1) - 1
        return np.stack([self.rows.lengths_B - 3 - b_N, b_N], axis=1)

    @property
    def chance(self) -> float:
        """The share of the more frequent label: what one answer to every pair reaches."""
        return float(np.bincount(self.labels_N).max() / len(self))


def labelled_pairs(
    shards: TokenShards, config: PretrainConfig, split: Split, *, limit: int, each: int = 1
) -> LabelledPairs:
    """At most `limit` pairs of a split, drawn without replacement by a fixed seed; rows without label are left out.

    `config` is one of `bert_jax.probes.reference.pairs_config`.

    Raises:
      UserError: fewer than `each` pairs of one of the two labels.
    """
    index = load_index(shards, config, split)
    label_R = index.segments["label"][index.rows[:-1]]
    chosen = np.random.default_rng(_SEED).permutation(np.flatnonzero(label_R >= 0))[:limit]
    labels = label_R[chosen].astype(np.int64)
    zeros, ones = np.bincount(labels, minlength=2).tolist()
    if min(zeros, ones) < each:
        raise UserError(
            f"the {split} split of the corpus at {shards.folder} gives {zeros} pairs with label 0 and {ones} with 1"
            f" for {config.data.sentence_objective}, the probe needs >= {each} of each: prepare more text, change"
            " config.data.eval_fraction, or leave the probe out"
        )
    length = config.data.sequence_length
    rows = assemble(shards, index, chosen, length=length, packing=1, words=False)
    return LabelledPairs(rows, labels)
