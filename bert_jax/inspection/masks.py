"""Statistics of masks, counted batch by batch, as JSON-ready dictionaries."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_jax.batch import Batch
from bert_jax.config import MaskingConfig
from bert_jax.data.batches.masking_words import choose_units, length_thresholds
from bert_jax.inspection.corpus import ratio

if TYPE_CHECKING:
    from bert_jax.data.batches.rows import Rows


class MaskingMeter:
    """Counts over batches which tokens are predicted and how they are shown; keeps five integers per row.

    Args:
      slots: M of the batches.
      mask_id: the id of [MASK].
    """

    def __init__(self, *, slots: int, mask_id: int):
        self._mask_id, self._slots = mask_id, slots
        self._rows: list[np.ndarray] = []
        self._text_L = self._predicted_L = np.zeros(1, np.int64)
        self._words = np.zeros(2, np.int64)

    def add(self, batch: Batch, is_text_BL: np.ndarray, word_BL: np.ndarray) -> None:
        """Counts the rows of a batch.

        is_text_BL: neither special tokens nor padding. word_BL: number of the word that each token belongs to.
        """
        used_BM = batch["mlm_weights_BM"] > 0
        b, positions = np.nonzero(used_BM)[0], batch["mlm_positions_BM"][used_BM]
        shown, target = batch["tokens_BL"][b, positions], batch["mlm_targets_BM"][used_BM]
        masked = shown == self._mask_id
        kept = shown == target
        rows = len(used_BM)
        tokens_BL = batch["pack_ids_BL"] > 0
        columns = [
            tokens_BL.sum(axis=1),
            used_BM.sum(axis=1),
            np.bincount(b[masked], minlength=rows),
            np.bincount(b[~masked & ~kept], minlength=rows),
            np.bincount(b[kept & ~masked], minlength=rows),
        ]
        self._rows.append(np.stack(columns).astype(np.int32))
        predicted_BL = np.zeros(tokens_BL.shape, bool)
        predicted_BL[b, positions] = True
        self._text_L = self._text_L + is_text_BL.sum(axis=0)
        self._predicted_L = self._predicted_L + predicted_BL.sum(axis=0)
        self._count_words(predicted_BL, word_BL)

    def _count_words(self, predicted_BL: np.ndarray, word_BL: np.ndarray) -> None:
        """Counts words of which all tokens are predicted, and words of which some are."""
        word = (word_BL - word_BL.min()).ravel()
        touched = np.bincount(word, weights=predicted_BL.ravel()) > 0
        missed = np.bincount(word, weights=~predicted_BL.ravel()) > 0
        self._words += [int((touched & ~missed).sum()), int((touched & missed).sum())]

    def result(self) -> dict[str, Any]:
        """The counts; fractions have their standard error over rows."""
        tokens, predictions, masked, random, kept = np.concatenate(self._rows, axis=1).astype(np.int64)
        whole, part = self._words.tolist()
        return {
            "batches": len(self._rows),
            "rows": len(tokens),
            "tokens": int(tokens.sum()),
            "predictions": int(predictions.sum()),
            "rate": ratio(predictions, tokens),
            "shown": {
                "mask": ratio(masked, predictions),
                "random": ratio(random, predictions),
                "keep": ratio(kept, predictions),
            },
            "slots": self._slots,
            "predictions_a_row": np.bincount(predictions, minlength=self._slots + 1).tolist(),
            "full_rows": float((predictions == self._slots).mean()),
            "words": {"whole": whole, "in_part": part},
            "rate_by_position": [
                hit / text if text else None
                for hit, text in zip(self._predicted_L.tolist(), self._text_L.tolist(), strict=True)
            ],
        }


def expected_shown(masking: MaskingConfig, *, entries: int, holds_mask: bool) -> dict[str, float]:
    """The fractions that `MaskingMeter` should find: a random entry may by chance be [MASK], or the original token.

    entries: number of entries that random ones are drawn from; holds_mask: [MASK] is among them.
    """
    by_chance = masking.random / entries
    to_mask = by_chance if holds_mask else 0.0
    return {
        "mask": masking.mask + to_mask,
        "random": masking.random - by_chance - to_mask,
        "keep": masking.keep + by_chance,
    }


def unit_lengths(masking: MaskingConfig) -> dict[int, float]:
    """Probability of each length, in words, of an n-gram or span that is masked as a unit.

    ngram: proportional to 1/n (Lan et al. 2020, section 4.1); span: geometric, cut at `max_span` and rescaled
    (Joshi et al. 2020, section 3.1).
    """
    if masking.unit == "ngram":
        weights = {n: 1 / n for n in range(1, masking.max_ngram + 1)}
    else:
        weights = {n: (1 - masking.span_p) ** (n - 1) for n in range(1, masking.max_span + 1)}
    total = sum(weights.values())
    return {n: weight / total for n, weight in weights.items()}


class UnitMeter:
    """Counts the words of each unit that `masking_words` masks, with random numbers of its own.

    A batch does not record where one unit ends and the next begins, so the rows are masked a second time.
    """

    def __init__(self, masking: MaskingConfig, *, seed: int = 0):
        self._masking = masking
        self._rng = np.random.default_rng(seed)
        self._words: dict[str, Counter[int]] = {"all": Counter(), "first": Counter()}

    def add(self, rows: Rows, word_BL: np.ndarray) -> None:
        """Masks `rows`; word_BL: number of the word that each token belongs to."""
        assert rows.word_starts_BL is not None
        masking, count = self._masking, len(rows.tokens_BL)
        wanted_B = np.clip(np.rint(masking.rate * rows.lengths_B), 1, masking.max_predictions).astype(
            np.int64
        )
        units = choose_units(
            rows.is_text_BL,
            rows.word_starts_BL,
            wanted_B,
            self._rng.integers(0, 2**32, (count, rows.tokens_BL.shape[1]), np.uint32),
            self._rng.integers(0, 2**32, (count, masking.max_predictions), np.uint32),
            length_thresholds(masking),
        )
        word = word_BL.ravel()
        words = word[units.slot + units.tokens - 1] - word[units.slot] + 1
        for name, chosen in (("all", words), ("first", words[units.turn == 0])):
            self._words[name].update(chosen.tolist())

    def result(self) -> dict[str, dict[int, float]]:
        """words -> number, for "all" units and for the "first" of each row, which alone are never shortened to the
        remaining predictions of the row; and their "expected" distribution."""
        return {
            **{name: dict(sorted(c.items())) for name, c in self._words.items()},
            "expected": unit_lengths(self._masking),
        }


def number_words(rows: Rows) -> np.ndarray:
    """Numbers the words of all `rows` in order: int64 [B, L]. Each special token and padding slot is a word of its own,
    and so is the rest of a word whose beginning was cut from the segment."""
    text_BL = rows.is_text_BL
    starts_BL = rows.word_starts_BL | ~text_BL
    starts_BL[:, 1:] |= ~text_BL[:, :-1]
    return np.cumsum(starts_BL).reshape(starts_BL.shape)
