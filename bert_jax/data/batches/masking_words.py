"""Which words of a row are hidden together: whole words, n-grams (ALBERT, section 4.1), spans (SpanBERT, 3.1).

A word is a run of tokens that begins at a word start; special tokens are in none, and none crosses a segment.

One rule for the three, lengths first, then places. For t = 1, 2, ... draw a length of n words; of the places
where n consecutive words are free, in one segment, and no more tokens than are left to predict, hide the one
whose first word has the highest priority, drawn at random. Where no place fits, n is shortened by one word until
one does; the row is done when none fits or nothing is left. So the lengths follow their distribution exactly but
where the number to predict runs out. (The released code of ALBERT and of SpanBERT draws the place first and
skips what does not fit there, which favours short lengths in all of the row.)
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bert_jax.config import MaskingConfig

_TRIES = 8  # places that are looked at together


@dataclasses.dataclass(frozen=True)
class Units:
    """What to hide: the first slot (row * L + place) and the tokens of each unit, and its turn t in its row,
    from 0. Sorted by slot; units do not overlap."""

    slot: np.ndarray
    tokens: np.ndarray
    turn: np.ndarray


def length_thresholds(masking: MaskingConfig) -> np.ndarray:
    """Where a uniform 32-bit word passes from length n to n + 1, for n = 1, 2, ...: uint32 [longest - 1].

    whole_word: always 1. ngram: p(n) proportional to 1/n up to `max_ngram` (ALBERT, equation 1). span: geometric,
    p(n) proportional to (1 - p)^(n - 1) up to `max_span` (SpanBERT, section 3.1).
    """
    longest = {"whole_word": 1, "ngram": masking.max_ngram, "span": masking.max_span}[masking.unit]
    n = np.arange(1, longest + 1)
    share = (1 - masking.span_p) ** (n - 1) if masking.unit == "span" else 1 / n
    below = np.cumsum(share)[:-1] / share.sum()
    return np.rint(below * 2**32).astype(np.uint32)


def choose_units(
    is_text_BL: np.ndarray,
    word_starts_BL: np.ndarray,
    wanted_B: np.ndarray,
    priority_BL: np.ndarray,
    length_BM: np.ndarray | None,
    thresholds: np.ndarray,
) -> Units:
    """Chooses units of at most `wanted_B` tokens in all.

    Args:
      is_text_BL: tokens that may be hidden; what stands between them ends a segment.
      word_starts_BL: where words begin; a segment's first token always begins one.
      priority_BL: random uint32, of a word that of its first token; the lowest goes first, of equal ones the left.
      length_BM: random uint32 that decides the length of turn M, or None where it is always 1; no row has more
        turns than it has tokens to predict.
      thresholds: as `length_thresholds` gives them.
    """
    words = _Words(is_text_BL, word_starts_BL, longest=len(thresholds) + 1)
    order_BW = words.by_priority(priority_BL)
    if length_BM is None:
        size_BM = np.ones((len(wanted_B), 1), np.int64)
    else:
        size_BM = np.searchsorted(thresholds, length_BM, side="right") + 1
    if words.longest > 1:
        placed = _place(words, order_BW, wanted_B, size_BM, np.zeros_like(wanted_B))
    else:
        # Single words: all up to the first that is too long at once, the general way from there.
        word_BM = order_BW[:, : wanted_B.max()]  # a word has at least one token
        tokens_BM = words.slot[word_BM + 1] - words.slot[word_BM]
        head_BM = (np.cumsum(tokens_BM, axis=1) <= wanted_B[:, None]) & (word_BM < words.count)
        left_B = wanted_B - np.where(head_BM, tokens_BM, 0).sum(axis=1)
        placed = _place(words, order_BW, left_B, size_BM, head_BM.sum(axis=1))
        placed.append((word_BM[head_BM], tokens_BM[head_BM], head_BM.nonzero()[1]))
    word, tokens, turn = (np.concatenate(parts) for parts in zip(*placed, strict=True))
    order = np.argsort(word)[: np.count_nonzero(tokens)]  # "nothing" comes last
    return Units(words.slot[word[order]], tokens[order], turn[order])


def _place(
    words: _Words, order_BW: np.ndarray, left_B: np.ndarray, size_BM: np.ndarray, turn_B: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The rule of this file's docstring, for all rows at once, of whose order the first `turn_B` words are taken.

    A place once refused for n words stays refused for n words, because free words and tokens left only get
    fewer. So every row goes through its order once for each n, and remembers how far it is. A: rows at work;
    K: places tried together.

    Returns (first word, tokens, turn) of the units.
    """
    (rows, turns), width = size_BM.shape, order_BW.shape[1]
    order, size, tries = order_BW.ravel(), size_BM.ravel(), np.arange(_TRIES)
    reached_BN = np.zeros((rows, words.longest + 1), np.int64)
    reached_BN[:, 1] = turn_B
    reached = reached_BN.ravel()
    row_A = np.flatnonzero((left_B > 0) & (words.count_B > turn_B))
    left_A, turn_A, count_A = left_B[row_A], turn_B[row_A], words.count_B[row_A]
    size_A = size[row_A * turns + np.minimum(turn_A, turns - 1)]
    placed = [(np.zeros(0, np.int64),) * 3]
    while row_A.size:
        size_A = np.minimum(size_A, left_A)  # n words have at least n tokens
        reached_A = reached.take(row_A * (words.longest + 1) + size_A)
        word_AK = order.take((row_A * width + reached_A)[:, None] + tries)
        tokens_AK = words.slot.take(word_AK + size_A[:, None]) - words.slot.take(word_AK)
        fits_AK = (words.free.take(word_AK) >= size_A[:, None]) & (tokens_AK <= left_A[:, None])
        try_A = fits_AK.argmax(axis=1)
        pick_A = np.arange(row_A.size) * _TRIES + try_A
        found_A = fits_AK.ravel().take(pick_A)
        reached_A = np.minimum(reached_A + np.where(found_A, try_A + 1, _TRIES), count_A)
        reached[row_A * (words.longest + 1) + size_A] = reached_A

        # Where none of the places fits, "nothing" is taken.
        word_A = np.where(found_A, word_AK.ravel().take(pick_A), words.count)
        tokens_A = tokens_AK.ravel().take(pick_A) * found_A
        words.occupy(word_A, size_A)
        placed.append((word_A, tokens_A, turn_A))
        left_A = left_A - tokens_A
        turn_A = turn_A + found_A
        next_A = size.take(row_A * turns + np.minimum(turn_A, turns - 1))
        size_A = np.where(found_A, next_A, size_A - (reached_A == count_A))
        if not (left_A.all() and size_A.all()):
            on = (left_A > 0) & (size_A > 0)
            row_A, left_A, turn_A, count_A, size_A = (x[on] for x in (row_A, left_A, turn_A, count_A, size_A))
    return placed


class _Words:
    """The words of a batch, numbered through. A segment's end is numbered too, as a word that is never free, and
    beyond the last there are some more of these."""

    def __init__(self, is_text_BL: np.ndarray, word_starts_BL: np.ndarray, *, longest: int):
        self.rows, self.length = is_text_BL.shape
        self.longest = longest
        is_text = is_text_BL.ravel()
        before = np.concatenate([[False], is_text[:-1]])
        ends = before & ~is_text
        slot = np.flatnonzero(is_text & word_starts_BL.ravel() | ends)
        is_end = ends[slot]
        end = np.flatnonzero(is_end)
        free = np.repeat(end, np.diff(end, prepend=-1)) - np.arange(slot.size)
        beyond = np.full(longest + 1, is_text.size)
        self.count = slot.size
        self.slot = np.concatenate([slot, beyond])  # of the first token
        self.free = np.concatenate([free, np.zeros_like(beyond)])  # free words in a run from here on
        self._word = np.flatnonzero(~is_end)
        self._row = slot[self._word] // self.length
        self.count_B = np.bincount(self._row, minlength=self.rows)

    def by_priority(self, priority_BL: np.ndarray) -> np.ndarray:
        """The words of each row in order, then numbers beyond the last: [B, W + K]."""
        high = np.uint64(32)
        column = np.arange(self._word.size) - (np.cumsum(self.count_B) - self.count_B)[self._row]
        width = self.count_B.max(initial=0) + _TRIES
        key_BW = np.full((self.rows, width), 2**64 - 2**32 + self.count, np.uint64)
        priority = priority_BL.ravel()[self.slot[self._word]]
        key_BW[self._row, column] = priority.astype(np.uint64) << high | self._word.astype(np.uint64)
        key_BW.sort(axis=1)
        return (key_BW & np.uint64(2**32 - 1)).astype(np.int64)

    def occupy(self, word: np.ndarray, size: np.ndarray) -> None:
        """Leaves `size` words from each `word` on not free."""
        for n in range(self.longest):
            self.free[word[size > n] + n] = 0
        for n in range(1, self.longest):  # runs that reach these words end before them
            self.free[word - n] = np.minimum(self.free[word - n], n)
