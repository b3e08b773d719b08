"""Which words of a row are hidden together: whole words, n-grams (ALBERT, section 4.1), spans (SpanBERT, 3.1).

A word is the tokens from one word start up to the next; special tokens belong to none, and none crosses a segment.

One rule for the three: lengths first, then places. In turn t = 0, 1, ... draw a length of n words. Of the places where
n consecutive words of one segment are free and have no more tokens than are left to predict, hide the one whose first
word has the highest priority, drawn at random. Where no place fits, n is shortened by one word until one does. The row
is done when none fits or nothing is left. So the lengths follow their distribution exactly, except where the number to
predict runs out. (The released code of ALBERT and of SpanBERT draws the place first and skips what does not fit there,
which favours short lengths in the whole row.)
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bert_jax.config import MaskingConfig

_TRIES = 8  # places that are examined together


@dataclasses.dataclass(frozen=True)
class Units:
    """What to hide: the first slot (row * L + position), the tokens and the turn t of each unit. Sorted by slot; units
    do not overlap."""

    slot: np.ndarray
    tokens: np.ndarray
    turn: np.ndarray


def length_thresholds(masking: MaskingConfig) -> np.ndarray:
    """Where a uniform 32-bit number passes from length n to n + 1, for n = 1, 2, ...: uint32 [longest - 1].

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
      is_text_BL: tokens that may be hidden; what is between them ends a segment.
      word_starts_BL: where words begin; a segment's first token always begins one.
      priority_BL: random uint32; of a word, that of its first token. The lowest goes first, of equal ones the left.
      length_BM: random uint32 that decides the length of turn M, or None where it is always 1; no row has more
        turns than it has tokens to predict.
      thresholds: as `length_thresholds` gives them.

    The row [CLS] a ##a b [SEP] c d [SEP], of which 3 tokens are hidden, every length drawn being 2 words. Turn 0 hides
    "c d"; then one token is left, so turn 1 hides one word, "b" (a shorter "c" is no longer free):

    >>> units = choose_units(
    ...     np.array([[0, 1, 1, 1, 0, 1, 1, 0]], bool),
    ...     np.array([[0, 1, 0, 1, 0, 1, 1, 0]], bool),
    ...     np.array([3]),
    ...     np.array([[9, 5, 9, 3, 9, 1, 4, 9]], np.uint32),
    ...     np.full((1, 3), 2**31, np.uint32),
    ...     np.array([2**31], np.uint32),
    ... )
    >>> units.slot, units.tokens, units.turn
    (array([3, 5]), array([1, 2]), array([1, 0]))
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
        # Single words: at once all up to the first that is too long, then the general way.
        word_BM = order_BW[:, : wanted_B.max()]  # a word has at least one token
        tokens_BM = words.slot[word_BM + 1] - words.slot[word_BM]
        head_BM = (np.cumsum(tokens_BM, axis=1) <= wanted_B[:, None]) & (word_BM < words.count)
        left_B = wanted_B - np.where(head_BM, tokens_BM, 0).sum(axis=1)
        placed = _place(words, order_BW, left_B, size_BM, head_BM.sum(axis=1))
        placed.append((word_BM[head_BM], tokens_BM[head_BM], head_BM.nonzero()[1]))
    word, tokens, turn = (np.concatenate(parts) for parts in zip(*placed, strict=True))
    order = np.argsort(word)[: np.count_nonzero(tokens)]  # no unit comes last
    return Units(words.slot[word[order]], tokens[order], turn[order])


def _place(
    words: _Words, order_BW: np.ndarray, left_B: np.ndarray, size_BM: np.ndarray, turn_B: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The rule of this file's docstring for all rows at once, the first `turn_B` words of whose order are taken.

    A place once refused for n words stays refused for n words, because free words and tokens left only get fewer. So
    every row goes through its order once for each n, and `reached_BN` says how far it is. A: rows that are not done;
    K: places tried together.

    Returns (first word, tokens, turn) of the units; the word `words.count` means no unit.
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

        # Where none of the places fits, no unit is taken.
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
    """The words of a batch, numbered over all of it. A segment's end is numbered too, as a word that is never free,
    and after the last one there are some more of these.

    Two rows, [CLS] a ##a b [SEP] c d [SEP] and [CLS] e f g h [SEP] [PAD] [PAD]:

    >>> is_text_BL = np.array([[0, 1, 1, 1, 0, 1, 1, 0], [0, 1, 1, 1, 1, 0, 0, 0]], bool)
    >>> word_starts_BL = np.array([[0, 1, 0, 1, 0, 1, 1, 0], [0, 1, 1, 1, 1, 0, 0, 0]], bool)
    >>> words = _Words(is_text_BL, word_starts_BL, longest=2)
    >>> words.count, words.count_B  # a b | c d | and e f g h |; without the ends
    (11, array([4, 4]))
    >>> words.slot  # of the first token
    array([ 1,  3,  4,  5,  6,  7,  9, 10, 11, 12, 13, 16, 16, 16])
    >>> words.free  # consecutive free words of the segment from here on
    array([2, 1, 0, 2, 1, 0, 4, 3, 2, 1, 0, 0, 0, 0])
    >>> priority_BL = np.array([[9, 5, 9, 3, 9, 1, 4, 9], [9, 2, 7, 1, 8, 9, 9, 9]], np.uint32)
    >>> words.by_priority(priority_BL)[:, :6]  # c b d a and g e f h
    array([[ 3,  1,  4,  0, 11, 11],
           [ 8,  6,  7,  9, 11, 11]])
    >>> words.occupy(np.array([7]), np.array([2]))  # f g
    >>> words.free[6:11]
    array([1, 0, 0, 1, 0])
    """

    def __init__(self, is_text_BL: np.ndarray, word_starts_BL: np.ndarray, *, longest: int):
        self.rows, self.length = is_text_BL.shape
        self.longest = longest
        is_text = is_text_BL.ravel()
        is_after_text = np.concatenate([[False], is_text[:-1]])
        ends_segment = is_after_text & ~is_text
        slot = np.flatnonzero(is_text & word_starts_BL.ravel() | ends_segment)
        is_end = ends_segment[slot]
        end = np.flatnonzero(is_end)
        next_end = np.repeat(end, np.diff(end, prepend=-1))
        beyond = np.full(longest + 1, is_text.size)
        self.count = slot.size
        self.slot = np.concatenate([slot, beyond])
        self.free = np.concatenate([next_end - np.arange(slot.size), np.zeros_like(beyond)])
        self._word = np.flatnonzero(~is_end)
        self._row = slot[self._word] // self.length
        self.count_B = np.bincount(self._row, minlength=self.rows)

    def by_priority(self, priority_BL: np.ndarray) -> np.ndarray:
        """The words of each row by priority, then the number after the last word: [B, W + K]."""
        high = np.uint64(32)
        number_in_row = np.arange(self._word.size) - (np.cumsum(self.count_B) - self.count_B)[self._row]
        width = self.count_B.max(initial=0) + _TRIES
        key_BW = np.full((self.rows, width), 2**64 - 2**32 + self.count, np.uint64)
        priority = priority_BL.ravel()[self.slot[self._word]]
        key_BW[self._row, number_in_row] = priority.astype(np.uint64) << high | self._word.astype(np.uint64)
        key_BW.sort(axis=1)
        return (key_BW & np.uint64(2**32 - 1)).astype(np.int64)

    def occupy(self, word: np.ndarray, size: np.ndarray) -> None:
        """Makes `size` words from each `word` on not free."""
        for n in range(self.longest):
            self.free[word[size > n] + n] = 0
        for n in range(1, self.longest):  # free words before these end there
            self.free[word - n] = np.minimum(self.free[word - n], n)
