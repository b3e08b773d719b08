"""Masking for MLM (Devlin et al. 2019, section 3.1, task 1), on whole batches, in TensorFlow ops.

Randomness is counter-based: every row owns a fixed range of a Philox stream, found from its global
index. A row's mask is therefore the same whichever batch, host or restart it is drawn in.
"""

from __future__ import annotations

import tensorflow as tf

from bert_jax.config import MaskingConfig

_WORDS_PER_BLOCK = 4  # a Philox block is four 32-bit words
_PHILOX = 1  # tf.random.Algorithm.PHILOX


def random_words(seed: int, first_row: tf.Tensor, rows: int, words: int) -> tf.Tensor:
    """`words` uniform uint32 for each of the rows `first_row`, `first_row` + 1, ...: [rows, words].

    Row r of any call equals row 0 of a call with `first_row` = r.
    """
    blocks = -(-words // _WORDS_PER_BLOCK)
    counter = tf.cast(first_row, tf.uint64) * tf.cast(blocks, tf.uint64)
    drawn = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[rows, blocks * _WORDS_PER_BLOCK],
        key=tf.constant([seed], tf.uint64),
        counter=tf.stack([counter, tf.zeros((), tf.uint64)]),
        alg=_PHILOX,
        dtype=tf.uint32,
    )
    return drawn[:, :words]


def mask_tokens(
    tokens_BL: tf.Tensor,
    candidates_BL: tf.Tensor,
    lengths_B: tf.Tensor,
    words: tf.Tensor,
    masking: MaskingConfig,
    *,
    mask_id: int,
    vocab_size: int,
) -> dict[str, tf.Tensor]:
    """Chooses tokens to predict and hides them: 80 % as [MASK], 10 % as a random entry, 10 % not at all.

    A row of n tokens (special ones included, as in BERT's code) predicts round(rate * n) of them, at
    least 1 and at most `max_predictions`; `candidates_BL` says which may be chosen. Random entries are
    drawn from the whole vocabulary, as in BERT's code. `words` is uint32 [B, words_per_row].

    Returns the batch fields tokens_BL, mlm_positions_BM (ascending), mlm_targets_BM, mlm_weights_BM.
    """
    length, slots = tokens_BL.shape[1], masking.max_predictions
    # A uniform draw of n candidates is the n largest of uniform scores.
    scores_BL = tf.cast(tf.bitwise.right_shift(words[:, :length], tf.constant(1, tf.uint32)), tf.int32)
    scores_BL = tf.where(candidates_BL, scores_BL, -1)
    values_BM, positions_BM = tf.math.top_k(scores_BL, k=slots)
    wanted_B = tf.cast(tf.round(masking.rate * tf.cast(lengths_B, tf.float64)), tf.int32)
    wanted_B = tf.clip_by_value(wanted_B, 1, slots)
    used_BM = (tf.range(slots) < wanted_B[:, None]) & (values_BM >= 0)
    # Ascending, unused slots last: a row then reads from left to right.
    positions_BM = tf.sort(tf.where(used_BM, positions_BM, length), axis=1)
    used_BM = positions_BM < length
    positions_BM = tf.where(used_BM, positions_BM, 0)
    targets_BM = tf.gather(tokens_BL, positions_BM, batch_dims=1)

    share_BM = _unit(words[:, length : length + slots])
    random_BM = tf.cast(_unit(words[:, length + slots : length + 2 * slots]) * vocab_size, tf.int32)
    shown_BM = tf.where(
        share_BM < masking.mask,
        mask_id,
        tf.where(share_BM < masking.mask + masking.random, random_BM, targets_BM),
    )
    return {
        "tokens_BL": _scatter(tokens_BL, positions_BM, shown_BM, used_BM),
        "mlm_positions_BM": positions_BM,
        "mlm_targets_BM": tf.where(used_BM, targets_BM, 0),
        "mlm_weights_BM": tf.cast(used_BM, tf.float32),
    }


def words_per_row(length: int, slots: int) -> int:
    """Random words that `mask_tokens` uses for a row: a score a token, a fate and an entry a slot."""
    return length + 2 * slots


def _unit(words: tf.Tensor) -> tf.Tensor:
    """uint32 -> float64 in [0, 1), exact."""
    return tf.cast(words, tf.float64) * 2.0**-32


def _scatter(tokens_BL, positions_BM, shown_BM, used_BM) -> tf.Tensor:
    """`tokens_BL` with `shown_BM` at `positions_BM` where `used_BM`."""
    rows_BM = tf.broadcast_to(tf.range(tf.shape(tokens_BL)[0])[:, None], tf.shape(positions_BM))
    indices = tf.boolean_mask(tf.stack([rows_BM, positions_BM], axis=-1), used_BM)
    return tf.tensor_scatter_nd_update(tokens_BL, indices, tf.boolean_mask(shown_BM, used_BM))
