"""Masking for MLM (Devlin et al. 2019, section 3.1, task 1), on whole batches.

Random numbers are counter-based: those of a row come from the seed and the row's number alone. A row's mask is
therefore the same in any batch, on any host and after any restart.
"""

from __future__ import annotations

import numpy as np

from bert_jax.config import MaskingConfig
from bert_jax.data.batches.masking_words import choose_units, length_thresholds
from bert_jax.data.batches.rows import Rows
from bert_jax.data.random import fold, root

_MASKS = 2**62  # the keys below it are those of documents
_HALF, _LOW, _NEVER = np.uint64(32), np.uint64(2**32 - 1), np.uint64(2**64 - 1)


def draws_per_row(masking: MaskingConfig, length: int) -> int:
    """Random numbers that `mask_rows` uses for a row: a priority per token, then for each masked slot a fate, an entry
    and, where lengths are drawn, a length."""
    return length + (3 if masking.unit in ("ngram", "span") else 2) * masking.max_predictions


def draw_rows(seed: int, row_B: np.ndarray, draws: int) -> np.ndarray:
    """`draws` uniform uint32 for each of the rows numbered `row_B`: [B, draws]."""
    keys_B = fold(fold(root(seed), _MASKS), row_B)
    pairs = fold(keys_B[:, None], np.arange(-(-draws // 2)))
    return pairs.view(np.uint32)[:, :draws]


def rarity_weights(counts_V: np.ndarray, rarity: float) -> np.ndarray:
    """The weight with which a token of each entry is chosen: counts^-rarity, float64 [V].

    An entry that the training text lacks has the weight of one that stands there once, as in DistilBERT's released
    code (research_projects/distillation/train.py, "mlm_smoothing").
    """
    return np.maximum(counts_V, 1).astype(np.float64) ** -rarity


def mask_rows(
    rows: Rows,
    draws: np.ndarray,
    masking: MaskingConfig,
    *,
    mask_id: int,
    entries: np.ndarray,
    weights_V: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Chooses tokens to predict and hides them: 80 % as [MASK], 10 % as a random entry, 10 % unchanged.

    A row of n tokens (special ones included, as in BERT's code) predicts round(rate * n) of them, at least 1
    and at most `max_predictions`; where words are hidden whole, as many of these as fit. Each token has a fate of its
    own, but the tokens of a span share one (SpanBERT, section 3.1).

    Args:
      rows: their tokens are changed in place.
      draws: random uint32 [B, draws_per_row].
      entries: ids that random entries are drawn from.
      weights_V: for the unit "token", as `rarity_weights` gives them; None: all tokens alike.

    Returns the batch fields mlm_positions_BM (ascending), mlm_targets_BM, mlm_weights_BM.
    """
    count, length = rows.tokens_BL.shape
    slots = masking.max_predictions
    wanted_B = np.clip(np.rint(masking.rate * rows.lengths_B), 1, slots).astype(np.int64)
    if masking.unit == "token":
        priority_BL = _priority(draws, length)
        if weights_V is not None:
            priority_BL = _weighted(priority_BL, weights_V[rows.tokens_BL])
        chosen, turn = _choose_tokens(rows, wanted_B, priority_BL, slots), None
    else:
        chosen, turn = _choose_words(rows, wanted_B, draws, masking)
    row = chosen // length
    slot = np.arange(chosen.size) - np.searchsorted(row, np.arange(count))[row]
    fate = draws[row, length + (turn if masking.unit == "span" else slot)]
    entry = draws[row, length + slots + slot].astype(np.uint64) * np.uint64(len(entries)) >> _HALF
    tokens = rows.tokens_BL.ravel()
    target = tokens[chosen]
    shown = np.where(fate < (masking.mask + masking.random) * 2**32, entries[entry], target)
    tokens[chosen] = np.where(fate < masking.mask * 2**32, mask_id, shown)

    def per_slot(values: np.ndarray | int, dtype: type) -> np.ndarray:
        values_BM: np.ndarray = np.zeros((count, slots), dtype)
        values_BM[row, slot] = values
        return values_BM

    return {
        "mlm_positions_BM": per_slot(chosen - row * length, np.int32),
        "mlm_targets_BM": per_slot(target, np.int32),
        "mlm_weights_BM": per_slot(1, np.float32),
    }


def _priority(draws: np.ndarray, length: int) -> np.ndarray:
    """31 random bits per token; the token with the lowest comes first."""
    return ~draws[:, :length] >> np.uint32(1)


def _weighted(priority_BL: np.ndarray, weights_BL: np.ndarray) -> np.ndarray:
    """Priorities under which the tokens that come first are drawn without replacement in proportion to their weights.

    An exponential variable of rate w a token, the lowest first (Efraimidis and Spirakis 2006), which is what
    `torch.multinomial` draws in DistilBERT's released code. The bits of positive floats are in the order of the floats.
    """
    exponential_BL = -np.log1p(-(priority_BL + 0.5) * 2.0**-31)
    return (exponential_BL / weights_BL).astype(np.float32).view(np.uint32)


def _choose_tokens(rows: Rows, wanted_B: np.ndarray, priority_BL: np.ndarray, slots: int) -> np.ndarray:
    """The tokens that come first, of equal ones the leftmost, as sorted slots: row * L + position."""
    count, length = rows.tokens_BL.shape
    key_BL = priority_BL.astype(np.uint64) << _HALF | np.arange(length, dtype=np.uint64)
    key_BL[~rows.is_text_BL] = _NEVER
    if slots < length:
        key_BL.partition(slots - 1, axis=1)
    key_BM = np.sort(key_BL[:, :slots], axis=1)
    used_BM = (np.arange(slots) < wanted_B[:, None]) & (key_BM != _NEVER)
    position_BM = np.where(used_BM, key_BM & _LOW, length).astype(np.int64)
    position_BM.sort(axis=1)
    return (np.arange(0, count * length, length)[:, None] + position_BM)[position_BM < length]


def _choose_words(
    rows: Rows, wanted_B: np.ndarray, draws: np.ndarray, masking: MaskingConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of whole words, as sorted slots (row * L + position), and the turn in which each was hidden."""
    assert rows.word_starts_BL is not None
    thresholds = length_thresholds(masking)
    units = choose_units(
        rows.is_text_BL,
        rows.word_starts_BL,
        wanted_B,
        _priority(draws, rows.tokens_BL.shape[1]),
        draws[:, -masking.max_predictions :] if len(thresholds) else None,
        thresholds,
    )
    first = np.cumsum(units.tokens) - units.tokens
    chosen = np.arange(units.tokens.sum()) + np.repeat(units.slot - first, units.tokens)
    return chosen, np.repeat(units.turn, units.tokens)
