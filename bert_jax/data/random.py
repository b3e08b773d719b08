"""Counter-based random numbers: each is a function of its purpose, never of the numbers drawn before it.

A key is 64 bits. `fold(key, number)` is output `number` of the SplitMix64 generator started at `key`
(Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), so keys chain:
seed -> document -> repetition -> chunk -> purpose. All arithmetic is modulo 2**64.
"""

from __future__ import annotations

import enum

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


_PURPOSES = 2**48  # above all documents, repetitions and pieces, whose numbers are folded into keys too


class Purpose(enum.IntEnum):
    """What a draw decides: the last number folded into its key."""

    VISIT = _PURPOSES  # whether a document is read once more
    BACKWARD = _PURPOSES + 1  # whether a document is read from its end
    SHORT = _PURPOSES + 2  # whether the chunk is built to a shorter length
    LENGTH = _PURPOSES + 3  # that length
    SPLIT = _PURPOSES + 4  # where A ends and B begins
    COIN = _PURPOSES + 5  # nsp: B from another document; sop: A and B swapped
    SENTENCE = _PURPOSES + 6  # B's first sentence in another document
    ORDER = _PURPOSES + 7  # order of an example among those of its length
    REPLACE = _PURPOSES + 8  # augmentation: whether a word is replaced
    CANDIDATE = _PURPOSES + 9  # by which of its candidates
    FRONT_A = _PURPOSES + 16  # one bit per token cut from A: at its front or its back
    FRONT_B = _PURPOSES + 17
    DOCUMENT = _PURPOSES + 32  # another document; + attempt


_WORD = 64
"""Added to a purpose for each further 64 bits."""


def root(seed: int) -> np.ndarray:
    """The key all others come from: uint64 [1]."""
    return fold(np.zeros(1, np.uint64), np.array([seed]))


def fold(keys: np.ndarray, numbers: np.ndarray | int) -> np.ndarray:
    """The keys, or 64 random bits each, of `numbers` (>= 0) under `keys`; the two broadcast."""
    if isinstance(numbers, int):
        step: np.ndarray | int = (int(numbers) + 1) * GOLDEN % 2**64
    else:
        step = (numbers.astype(np.uint64) + 1) * GOLDEN
    return _mix(keys + step)


def uniform(keys: np.ndarray, purpose: int) -> np.ndarray:
    """One float64 per key, uniform in [0, 1)."""
    return (fold(keys, purpose) >> 11) * 2.0**-53


def below(keys: np.ndarray, purpose: int, counts: np.ndarray | int) -> np.ndarray:
    """One int64 per key, uniform among 0 ... counts - 1 (0 where `counts` is 0)."""
    return (uniform(keys, purpose) * counts).astype(np.int64)


def heads(keys: np.ndarray, purpose: int, tosses: np.ndarray) -> np.ndarray:
    """Heads among `tosses` fair coins per key, Binomial(tosses, 1/2): int64 [keys].

    Toss t is bit t % 64 of output t // 64.
    """
    out = np.zeros(len(keys), np.int64)
    for word in range(-(-int(tosses.max(initial=0)) // 64)):
        open_ = np.flatnonzero(tosses > 64 * word)
        bits = fold(keys[open_], purpose + _WORD * word)
        unused = np.maximum(64 * (word + 1) - tosses[open_], 0).astype(np.uint64)
        out[open_] += np.bitwise_count(bits << unused)
    return out


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, in place."""
    x ^= x >> 30
    x *= _FIRST
    x ^= x >> 27
    x *= _SECOND
    x ^= x >> 31
    return x
