"""Batches as a pure function of (config, seed, step), produced by tf.data.

    step -> global row numbers -> (epoch, instance) by a stateless permutation
         -> tokens from the memory-mapped shards -> masks from a counter-based generator

There is no shuffle buffer and no iterator state, so resuming is starting at another step, and a host
produces its rows of the same global batch whatever the number of hosts.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before the import: TensorFlow greets at length

import tensorflow as tf

from bert_jax.batch import FIELDS
from bert_jax.config import Config
from bert_jax.data.instances import Split, load_index
from bert_jax.data.masking import mask_tokens, random_words, words_per_row
from bert_jax.data.shards import TokenShards
from bert_jax.errors import ConfigError, UserError

tf.config.set_visible_devices([], "GPU")  # the accelerators are JAX's


@dataclasses.dataclass(frozen=True)
class Host:
    """This process among those that feed one run: it produces rows of share `index` of `count`."""

    index: int = 0
    count: int = 1


class Batches:
    """The batches of one split.

    train: every instance once an epoch, in a new order each epoch, with new masks each time.
    eval: one pass in a fixed order with fixed masks, the same for every seed; the last batch is filled
    up with rows of weight 0.
    """

    def __init__(self, shards: TokenShards, config: Config, split: Split, *, host: Host = Host()):
        if shards.vocab_size != config.tokenizer.vocab_size:
            raise ConfigError(
                [
                    f"config.tokenizer.vocab_size={config.tokenizer.vocab_size} must equal the vocabulary"
                    f" of the corpus at {shards.folder}: {shards.vocab_size}"
                ]
            )
        if config.train.batch_size % host.count:
            raise ConfigError(
                [
                    f"config.train.batch_size={config.train.batch_size} must be a multiple of {host.count} hosts"
                ]
            )
        self.shards, self.config, self.split, self.host = shards, config, split, host
        self.index = load_index(shards, config, split)
        if not len(self.index):
            raise UserError(f"the {split} split of the corpus at {shards.folder} has no row")
        self._seed = config.seed if split == "train" else 0

    @property
    def count(self) -> int:
        """Batches of the split: of one evaluation, or of one epoch (rounded up)."""
        return -(-len(self.index) // self.config.train.batch_size)

    def iterate(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        """Batches `start` to `stop` - 1, prepared ahead on the CPU's threads."""
        options = tf.data.Options()
        options.deterministic = True
        dataset = (
            tf.data.Dataset.range(start, stop)
            .map(tf.autograph.experimental.do_not_convert(self._batch), num_parallel_calls=tf.data.AUTOTUNE)
            .prefetch(4)
            .with_options(options)
        )
        return dataset.as_numpy_iterator()

    def at(self, step: int) -> dict[str, np.ndarray]:
        """The batch of one step."""
        return next(self.iterate(step, step + 1))

    def _batch(self, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """The rows of `step` that this host produces: the fields of `bert_jax.batch`."""
        config, special = self.config, self.shards.special
        rows = config.train.batch_size // self.host.count
        length, slots = config.data.sequence_length, config.masking.max_predictions
        first = step * config.train.batch_size + self.host.index * rows
        number_B = first + tf.range(rows, dtype=tf.int64)
        instance_B, present_B = self._instances(number_B)
        segments = tf.numpy_function(self._segments, [instance_B], [tf.int32] * 3 + [tf.int32] * 2)
        for tensor in segments[:3]:
            tensor.set_shape([rows, length])
        for tensor in segments[3:]:
            tensor.set_shape([rows])
        tokens_BL, type_ids_BL, pack_ids_BL, lengths_B, label_B = segments
        is_special_BL = (tokens_BL == special.cls) | (tokens_BL == special.sep)
        candidates_BL = (pack_ids_BL > 0) & ~is_special_BL & present_B[:, None]
        words = random_words(self._seed, first, rows, words_per_row(length, slots))
        masked = mask_tokens(
            tokens_BL,
            candidates_BL,
            lengths_B,
            words,
            config.masking,
            mask_id=special.mask,
            vocab_size=self.shards.vocab_size,
        )
        labelled_B = (label_B >= 0) & present_B
        fields = masked | {
            "type_ids_BL": type_ids_BL,
            "pack_ids_BL": pack_ids_BL,
            "positions_BL": tf.broadcast_to(tf.range(length), [rows, length]),
            "first_BP": tf.zeros([rows, 1], tf.int32),
            "pair_labels_BP": tf.maximum(label_B, 0)[:, None],
            "pair_weights_BP": tf.cast(labelled_B, tf.float32)[:, None],
            "example_ids_B": tf.cast(number_B, tf.uint32),
        }
        return {name: fields[name] for name in FIELDS}

    def _instances(self, number_B: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Global row numbers -> (row of the index, whether there is one)."""
        count = len(self.index)
        present_B = tf.ones_like(number_B, tf.bool) if self.split == "train" else number_B < count
        epoch_B, place_B = number_B // count, number_B % count
        # A key an epoch: [seed, epoch, 0].
        seeds = tf.stack([tf.fill(epoch_B.shape, tf.constant(self._seed, tf.int64)), epoch_B], axis=1)
        shuffled_B = tf.raw_ops.RandomIndexShuffle(
            index=place_B, seed=tf.pad(seeds, [[0, 0], [0, 1]]), max_index=tf.constant(count - 1, tf.int64)
        )
        return shuffled_B, present_B

    def _segments(self, instance_B: np.ndarray) -> tuple[np.ndarray, ...]:
        """Instances -> unmasked tokens, types and packs [B, L], lengths and labels [B]."""
        length, special = self.config.data.sequence_length, self.shards.special
        rows = self.index[instance_B]
        a_length, b_length = rows["a_length"][:, None], rows["b_length"][:, None]
        width = length - 2
        a_BW = self.shards.gather(rows["a_start"], rows["a_length"], width)
        place_BL = np.arange(length, dtype=np.int32)[None, :]
        tokens_BL = np.full((len(rows), length), special.sep, np.int32)
        tokens_BL[:, 0] = special.cls
        tokens_BL[:, 1:-1] = np.where(place_BL[:, 1:-1] <= a_length, a_BW, special.sep)
        total = a_length + 2
        in_b_BL = np.zeros((len(rows), length), bool)
        if b_length.any():
            # B's run is shifted right by A's length: read it from that much before its start.
            shift = np.arange(length, dtype=np.int32) - (a_length + 2)
            in_b_BL = (shift >= 0) & (shift <= b_length) & (b_length > 0)
            b_BW = self.shards.gather(rows["b_start"], rows["b_length"], width)
            chosen = in_b_BL & (shift < b_length)
            tokens_BL[chosen] = b_BW[np.broadcast_to(np.arange(width), b_BW.shape) < b_length]
            total = total + np.where(b_length > 0, b_length + 1, 0)
        pack_ids_BL = (place_BL < total).astype(np.int32)
        np.copyto(tokens_BL, special.pad, where=pack_ids_BL == 0)
        return tokens_BL, in_b_BL.astype(np.int32), pack_ids_BL, total[:, 0], rows["label"].astype(np.int32)
