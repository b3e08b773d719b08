"""Batches as a pure function of (config, seed, step), produced by tf.data.

    step -> global row numbers -> (epoch, instance) by a stateless permutation
         -> tokens from the memory-mapped shards -> masks from a counter-based generator

There is no shuffle buffer and no iterator state, so resuming is starting at another step, and a host
produces its rows of the same global batch whatever the number of hosts.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_jax.batch import Batch, Host, Split, pretraining_spec
from bert_jax.config import PretrainConfig
from bert_jax.data.batches import rows
from bert_jax.data.batches.masking import draw_rows, draws_per_row, mask_rows, rarity_weights
from bert_jax.data.corpus.shards import TokenShards
from bert_jax.data.instances.index import load_index
from bert_jax.data.instances.token_counts import load_token_counts
from bert_jax.data.tensorflow import tensorflow
from bert_jax.errors import ConfigError, UserError
from bert_jax.text import tokenizer

if TYPE_CHECKING:
    import tensorflow as tf

_TOKENS = 2**17
"""Small batches are made several at once, up to this many tokens: NumPy's calls hold Python's lock, so few large
ones let the cores work side by side."""


class Batches:
    """The batches of one split.

    train: every instance once an epoch, in a new order each epoch; masks are new each time (dynamic) or the
    instance's `copies` in turn (static).
    eval: one pass in a fixed order with fixed masks, the same for every seed; the last batch is filled
    up with rows of weight 0.

    config: of one phase. begin: the first step of that phase and the rows of the run before it.
    """

    def __init__(
        self,
        shards: TokenShards,
        config: PretrainConfig,
        split: Split,
        *,
        host: Host = Host(),
        begin: tuple[int, int] = (0, 0),
    ):
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
        self.spec = pretraining_spec(config)
        self._first_step, self._first_row = begin
        self.index = load_index(shards, config, split)
        if not len(self.index):
            raise UserError(f"the {split} split of the corpus at {shards.folder} has no row")
        self._seed = config.seed if split == "train" else 0
        self._static = split == "train" and config.masking.mode == "static"
        self._entries = np.arange(shards.vocab_size, dtype=np.int32)
        if config.masking.random_from == "ordinary":
            vocabulary = tokenizer.load(shards.folder / "tokenizer.json")
            self._entries = vocabulary.ordinary_ids().astype(np.int32)
        self._weights_V: np.ndarray | None = None
        if config.masking.rarity:
            counts_V = load_token_counts(shards, config.data.eval_fraction)
            self._weights_V = rarity_weights(counts_V, config.masking.rarity)

    @property
    def count(self) -> int:
        """Batches of the split: of one evaluation, or of one epoch (rounded up)."""
        return -(-len(self.index) // self.config.train.batch_size)

    @property
    def rows(self) -> int:
        """Rows of the split."""
        return len(self.index)

    def iterate(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches `start` to `stop` - 1, prepared ahead on the CPU's threads."""
        tf = tensorflow()
        limits = (tf.constant(start, tf.int64), tf.constant(stop, tf.int64))
        return self._dataset(*limits).as_numpy_iterator()

    def at(self, step: int) -> Batch:
        """The batch of one step."""
        return next(self.iterate(step, step + 1))

    @functools.cached_property
    def _dataset(self) -> Any:
        """(start, stop) -> a dataset. Traced once: mapping a Python function would trace it for every dataset."""
        tf = tensorflow()
        limits = (tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int64))
        return tf.function(self._make_dataset, autograph=False).get_concrete_function(*limits)

    def _make_dataset(self, start: tf.Tensor, stop: tf.Tensor) -> tf.data.Dataset:
        tf = tensorflow()
        options = tf.data.Options()
        options.deterministic = True
        # Two steps need no rewriting, and looking for it takes longer than the first batch.
        options.experimental_optimization.apply_default_optimizations = False
        rows = self.config.train.batch_size // self.host.count
        together = max(1, _TOKENS // (rows * self.config.data.sequence_length))
        return (
            tf.data.Dataset.range(start, stop)
            .batch(together)
            .map(tf.autograph.experimental.do_not_convert(self._batches), num_parallel_calls=tf.data.AUTOTUNE)
            .unbatch()
            .prefetch(4)
            .with_options(options)
        )

    def _batches(self, step_G: tf.Tensor) -> dict[str, tf.Tensor]:
        """The rows of these steps that this host produces: the fields of `bert_jax.batch`, by step."""
        tf = tensorflow()
        size, fields = self.config.train.batch_size, self.spec.fields
        of_host = size // self.host.count
        shapes = self.spec.shapes(of_host)
        first_G = self._first_row + (step_G - self._first_step) * size + self.host.index * of_host
        number_N = tf.reshape(first_G[:, None] + tf.range(of_host, dtype=tf.int64), [-1])
        types = [tf.as_dtype(dtype) for dtype in fields.values()]
        values = tf.numpy_function(self._fields, [number_N, self.instances(number_N)], types)
        return {
            name: tf.reshape(value, [-1, *shapes[name]]) for name, value in zip(fields, values, strict=True)
        }

    def instances(self, number_B: tf.Tensor) -> tf.Tensor:
        """Global row numbers -> rows of the index."""
        tf = tensorflow()
        count = len(self.index)
        epoch_B, place_B = number_B // count, number_B % count
        # A key an epoch: [seed, epoch, 0].
        seeds = tf.stack([tf.fill(tf.shape(epoch_B), tf.constant(self._seed, tf.int64)), epoch_B], axis=1)
        return tf.raw_ops.RandomIndexShuffle(
            index=place_B, seed=tf.pad(seeds, [[0, 0], [0, 1]]), max_index=tf.constant(count - 1, tf.int64)
        )

    def _fields(self, number_B: np.ndarray, instance_B: np.ndarray) -> list[np.ndarray]:
        """Global row numbers, rows of the index -> the fields of a batch, in order."""
        data, masking = self.config.data, self.config.masking
        epoch_B = number_B // len(self.index)
        key_B = instance_B * masking.copies + epoch_B % masking.copies if self._static else number_B
        draws = draw_rows(self._seed, key_B, draws_per_row(masking, data.sequence_length))
        unmasked = rows.assemble(
            self.shards,
            self.index,
            instance_B,
            length=data.sequence_length,
            packing=data.packing,
            words=masking.unit != "token",
        )
        if self.split == "eval":
            unmasked.is_text_BL[epoch_B > 0] = False
            unmasked.pair_weights_BP[epoch_B > 0] = 0
        predictions = mask_rows(
            unmasked,
            draws,
            masking,
            mask_id=self.shards.special.mask,
            entries=self._entries,
            weights_V=self._weights_V,
        )
        found = vars(unmasked) | predictions | {"example_ids_B": number_B.astype(np.uint32)}
        return [found[name] for name in self.spec.fields]
