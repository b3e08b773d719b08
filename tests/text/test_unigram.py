"""EM for Unigram against its definition: the sum over every way to cut each word, written out."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from bert_jax.text import unigram
from tests.text.samples import words_from

WORDS = {"▁abab": 5, "▁ba": 3, "▁": 1, "▁aabba": 2, "▁cab": 4}
PIECES = ["▁", "a", "b", "c", "ab", "▁a", "ba", "aba", "▁abab", "abb", "▁ba"]
LOG_P = np.log(np.arange(2, 2 + len(PIECES)) / 100)


def segmentations(word):
    """Every way to cut a word into PIECES."""
    for marks in itertools.product([False, True], repeat=len(word) - 1):
        cuts = [0, *(i + 1 for i, mark in enumerate(marks) if mark), len(word)]
        parts = [word[a:b] for a, b in itertools.pairwise(cuts)]
        if all(part in PIECES for part in parts):
            yield parts


def probability(parts):
    return math.exp(sum(LOG_P[PIECES.index(part)] for part in parts))


def lattices():
    index = {piece: i for i, piece in enumerate(PIECES)}
    groups = [unigram._Lattices.of(group, index) for group in unigram._by_length(WORDS)]
    return [(each, np.array([WORDS[word] for word in each.strings], float)) for each in groups]


def test_the_e_step_is_the_sum_over_all_segmentations():
    expected = Counter()
    for word, count in WORDS.items():
        ways = list(segmentations(word))
        total = sum(map(probability, ways))
        for parts in ways:
            for part in parts:
                expected[part] += count * probability(parts) / total
    found = sum(each.expected(LOG_P, weights) for each, weights in lattices())
    assert found == pytest.approx([expected[piece] for piece in PIECES], rel=1e-12)


def test_an_impossible_piece_is_never_expected():
    log_p = np.where(np.array(PIECES) == "ab", -np.inf, LOG_P)
    found = sum(each.expected(log_p, weights) for each, weights in lattices())
    assert found[PIECES.index("ab")] == 0
    assert np.isfinite(found).all()


def test_the_loss_of_a_piece_is_what_spelling_it_otherwise_costs():
    index = {piece: i for i, piece in enumerate(PIECES)}
    frequency = np.arange(1.0, 1 + len(PIECES))
    alone = [unigram._Lattices.of(group, index) for group in unigram._by_length(PIECES[4:])]
    found = unigram._losses(frequency, LOG_P, alone, index)
    for i, piece in enumerate(PIECES):
        others = [probability(parts) for parts in segmentations(piece) if len(parts) > 1]
        expected = frequency[i] * (LOG_P[i] - math.log(sum(others))) if others else -math.inf
        assert found[i] == pytest.approx(expected, rel=1e-12), piece


def test_digamma():
    x = np.array([0.5, 1.0, 3.0, 1e6])
    euler = 0.5772156649015329
    known = [-euler - 2 * math.log(2), -euler, 1.5 - euler, math.log(1e6) - 5e-7]
    assert unigram._digamma(x) == pytest.approx(known, abs=1e-9)
    assert x[0] == 0.5  # the argument is left as it was


def learned(size, words=None, **options):
    words = words or Counter(f"▁{word}" for word in words_from("abcdef", count=3000))
    return unigram.learn(words, alphabet="▁abcdef", size=size, **options)


@pytest.mark.parametrize("size", [7, 8, 60, 300])
def test_pieces_are_as_many_as_asked_for_with_the_alphabet_and_by_probability(size):
    pieces = learned(size)
    names, scores = zip(*pieces, strict=True)
    assert len(set(names)) == len(names) == size
    assert set("▁abcdef") <= set(names)
    assert list(scores) == sorted(scores, reverse=True) and scores[0] < 0


def test_frequent_words_become_pieces_and_pruning_is_told():
    told = []
    words = Counter({"▁walking": 50, "▁talking": 40, "▁walked": 30, "▁talked": 30, "▁king": 3})
    names = dict(unigram.learn(words, alphabet="▁acdegiklntw", size=20, tick=told.append))
    assert "▁walking" in names
    assert told[-1] <= 22 and told == sorted(told, reverse=True)


def test_no_piece_mixes_letters_with_digits_or_punctuation():
    words = Counter({"▁“so,”": 50, "▁2nd": 50, "▁...": 50, "▁1999": 50, "▁हिन्दी": 50})
    names = [name for name, _ in unigram.learn(words, alphabet=set("".join(words)), size=60)]
    assert {"so", "nd", "▁...", "▁1999", "▁हिन्दी"} <= set(names)
    assert not [n for n in names if any(c.isalpha() for c in n) and any(c in "“,”29." for c in n)]


def test_words_that_cannot_teach_are_left_out():
    words = Counter({"▁ab": 3, "▁Ωb": 1000, "▁" + "ab" * 40: 1000})
    assert learned(9, words) == learned(9, Counter({"▁ab": 3}))
