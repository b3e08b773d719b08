"""Masking: against a row-by-row version, and its shares against their exact expectation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bert_jax.config import MaskingConfig
from bert_jax.data.batches.masking import draw_rows, draws_per_row, mask_rows, rarity_weights
from bert_jax.data.batches.rows import Rows

PAD, CLS, SEP, MASK = 0, 2, 3, 4
VOCAB = 1000
GOLDEN_DRAWS = [[2397452591, 4243962140, 2458301869], [136643700, 727978598, 3453010574]]


def drawn_rows(seed: int, *, rows: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[CLS] A [SEP] B [SEP] [PAD] ... of random lengths: tokens, candidates, lengths."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(5, VOCAB, (rows, length)).astype(np.int32)
    lengths = rng.integers(4, length + 1, rows).astype(np.int32)
    tokens[:, 0] = CLS
    for row, n in zip(tokens, lengths, strict=True):
        row[rng.integers(1, n - 1)] = SEP
        row[n - 1] = SEP
        row[n:] = PAD
    candidates = (np.arange(length) < lengths[:, None]) & (tokens != CLS) & (tokens != SEP)
    return tokens, candidates, lengths


def drawn_words(seed: int, *, rows: int, length: int, slots: int) -> np.ndarray:
    shape = (rows, length + 2 * slots)
    return np.random.default_rng(seed).integers(0, 2**32, shape, dtype=np.uint32)


def unmasked(tokens, candidates, lengths, starts=None) -> Rows:
    unused = np.zeros(0)
    return Rows(tokens, unused, unused, unused, unused, unused, unused, lengths, candidates, starts)


def masked(
    tokens, candidates, lengths, words, masking: MaskingConfig, *, vocab_size: int = VOCAB, weights_V=None
):
    rows = unmasked(tokens.copy(), candidates, lengths)
    entries = np.arange(vocab_size, dtype=np.int32)
    fields = mask_rows(rows, words, masking, mask_id=MASK, entries=entries, weights_V=weights_V)
    return {"tokens_BL": rows.tokens_BL} | fields


def wanted(masking: MaskingConfig, length: int) -> int:
    return min(masking.max_predictions, max(1, round(masking.rate * length)))


def plain(tokens, candidates, lengths, words, masking: MaskingConfig, *, weights_V=None):
    """One row at a time, one slot at a time; without weights integers decide, no float is compared with a random one."""
    rows, length = tokens.shape
    slots = masking.max_predictions
    out = tokens.copy()
    positions, targets = np.zeros((rows, slots), np.int32), np.zeros((rows, slots), np.int32)
    weights = np.zeros((rows, slots), np.float32)
    for r in range(rows):
        # The candidates with the largest 31-bit scores; of equal ones the leftmost.
        order = sorted(np.flatnonzero(candidates[r]), key=lambda p: (-(int(words[r, p]) >> 1), p))
        if weights_V is not None:
            order = sorted(
                np.flatnonzero(candidates[r]), key=lambda p: arrival(words[r, p], weights_V[tokens[r, p]])
            )
        chosen = sorted(order[: wanted(masking, int(lengths[r]))])
        for slot, position in enumerate(chosen):
            positions[r, slot], weights[r, slot] = position, 1
            targets[r, slot] = tokens[r, position]
            fate = int(words[r, length + slot])
            if fate < masking.mask * 2**32:
                out[r, position] = MASK
            elif fate < (masking.mask + masking.random) * 2**32:
                out[r, position] = int(words[r, length + slots + slot]) * VOCAB >> 32
    return {
        "tokens_BL": out,
        "mlm_positions_BM": positions,
        "mlm_targets_BM": targets,
        "mlm_weights_BM": weights,
    }


def arrival(word, weight) -> float:
    """The time of the first event of a Poisson process of rate `weight`; the largest words come first."""
    share = ((2**31 - 1 - (int(word) >> 1)) + 0.5) / 2**31
    return -math.log(1 - share) / weight


def same(ours, theirs) -> bool:
    return all((ours[name] == theirs[name]).all() for name in theirs)


CONFIGS = [
    MaskingConfig(max_predictions=20),
    MaskingConfig(max_predictions=3),
    MaskingConfig(max_predictions=64, rate=0.9),
    MaskingConfig(max_predictions=1, rate=0.001),
    MaskingConfig(max_predictions=16, mask=0.3, random=0.3, keep=0.4),
    MaskingConfig(max_predictions=10, mask=0, random=1, keep=0),
]


@pytest.mark.parametrize("masking", CONFIGS, ids=lambda m: f"{m.rate}-{m.max_predictions}-{m.mask}")
def test_masking_equals_the_plain_version(masking):
    rows, length = 200, 64
    inputs = drawn_rows(1, rows=rows, length=length)
    words = drawn_words(2, rows=rows, length=length, slots=masking.max_predictions)
    ours = masked(*inputs, words, masking)
    theirs = plain(*inputs, words, masking)
    assert set(ours) == set(theirs)
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


def test_that_comparison_sees_each_kind_of_wrong_word():
    masking = MaskingConfig(max_predictions=10, mask=0.4, random=0.4, keep=0.2)
    inputs = drawn_rows(1, rows=50, length=64)
    words = drawn_words(2, rows=50, length=64, slots=10)
    theirs = plain(*inputs, words, masking)
    assert same(masked(*inputs, words, masking), theirs)
    for block in (slice(0, 64), slice(64, 74), slice(74, 84)):
        wrong = words.copy()
        wrong[:, block] = ~wrong[:, block]
        assert not same(masked(*inputs, wrong, masking), theirs)


def test_equal_scores_are_taken_from_the_left():
    tokens, candidates, lengths = drawn_rows(3, rows=4, length=32)
    masking = MaskingConfig(max_predictions=5)
    words = np.zeros((4, draws_per_row(masking, 32)), np.uint32)
    ours = masked(tokens, candidates, lengths, words, masking)
    assert same(ours, plain(tokens, candidates, lengths, words, masking))


@pytest.mark.parametrize("rate", [0.15, 0.3, 0.4, 0.075])
def test_the_number_of_predictions_is_exact_for_every_length(rate):
    """round() in full precision: 0.15 * 190 = 28.5 is 28 predictions, not 29."""
    length, slots = 512, 300
    lengths = np.arange(3, length + 1, dtype=np.int32)
    tokens = np.full((len(lengths), length), 7, np.int32)
    candidates = np.arange(length) < lengths[:, None]
    masking = MaskingConfig(rate=rate, max_predictions=slots)
    words = drawn_words(4, rows=len(lengths), length=length, slots=slots)
    counts = masked(tokens, candidates, lengths, words, masking)["mlm_weights_BM"].sum(axis=1)
    assert counts.tolist() == [wanted(masking, int(n)) for n in lengths]


def test_a_row_with_fewer_candidates_than_predictions_uses_them_all():
    tokens = np.array([[CLS, 9, SEP, PAD, PAD, PAD, PAD, PAD]], np.int32)
    candidates = tokens == 9
    masking = MaskingConfig(rate=0.9, max_predictions=6, mask=1, random=0, keep=0)
    words = drawn_words(5, rows=1, length=8, slots=6)
    ours = masked(tokens, candidates, np.array([3], np.int32), words, masking)
    assert ours["tokens_BL"].tolist() == [[CLS, MASK, SEP, PAD, PAD, PAD, PAD, PAD]]
    assert ours["mlm_positions_BM"].tolist() == [[1, 0, 0, 0, 0, 0]]
    assert ours["mlm_targets_BM"].tolist() == [[9, 0, 0, 0, 0, 0]]
    assert ours["mlm_weights_BM"].tolist() == [[1, 0, 0, 0, 0, 0]]


def test_a_row_without_candidates_stays_as_it_is():
    tokens, _, lengths = drawn_rows(6, rows=3, length=16)
    words = drawn_words(6, rows=3, length=16, slots=4)
    ours = masked(tokens, np.zeros_like(tokens, bool), lengths, words, MaskingConfig(max_predictions=4))
    assert (ours["tokens_BL"] == tokens).all()
    assert not ours["mlm_weights_BM"].any() and not ours["mlm_positions_BM"].any()


def test_targets_restore_the_row_and_nothing_else_changed():
    tokens, candidates, lengths = drawn_rows(7, rows=300, length=64)
    masking = MaskingConfig(max_predictions=12, mask=0.5, random=0.5, keep=0)
    words = drawn_words(8, rows=300, length=64, slots=12)
    ours = masked(tokens, candidates, lengths, words, masking)
    restored = ours["tokens_BL"].copy()
    row, slot = np.nonzero(ours["mlm_weights_BM"])
    position = ours["mlm_positions_BM"][row, slot]
    assert candidates[row, position].all()  # never [CLS], [SEP] or padding
    restored[row, position] = ours["mlm_targets_BM"][row, slot]
    assert (restored == tokens).all()
    assert (ours["tokens_BL"] != tokens).any()
    pairs = set(zip(row.tolist(), position.tolist(), strict=True))
    assert len(pairs) == len(row)  # no position twice
    used = ours["mlm_weights_BM"].astype(bool)
    ascending = np.diff(ours["mlm_positions_BM"], axis=1) > 0
    assert ascending[used[:, 1:]].all()
    assert not ours["mlm_targets_BM"][~used].any() and not ours["mlm_positions_BM"][~used].any()


@pytest.mark.parametrize(
    ("masking", "shown"),
    [
        (MaskingConfig(max_predictions=9, mask=1, random=0, keep=0), "mask"),
        (MaskingConfig(max_predictions=9, mask=0, random=0, keep=1), "same"),
        (MaskingConfig(max_predictions=9, mask=0, random=1, keep=0), "random"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_a_split_of_one_kind_is_exact_even_for_the_extreme_words(masking, shown):
    tokens, candidates, lengths = drawn_rows(9, rows=64, length=64)
    words = drawn_words(10, rows=64, length=64, slots=9)
    words[:16, 64:], words[16:32, 64:] = 0, 2**32 - 1
    ours = masked(tokens, candidates, lengths, words, masking, vocab_size=3)
    row, slot = np.nonzero(ours["mlm_weights_BM"])
    now = ours["tokens_BL"][row, ours["mlm_positions_BM"][row, slot]]
    if shown == "mask":
        assert (now == MASK).all()
    elif shown == "same":
        assert (ours["tokens_BL"] == tokens).all()
    else:
        assert set(now.tolist()) == {0, 1, 2}


def test_the_shares_are_those_asked_for_over_two_million_tokens():
    rows, length, slots, vocab_size = 16_384, 128, 20, 50
    masking = MaskingConfig(max_predictions=slots)
    tokens = np.full((rows, length), 60, np.int32)  # no random entry below 50 can be mistaken for it
    tokens[:, 0], tokens[:, -1] = CLS, SEP
    candidates = tokens == 60
    words = draw_rows(3, np.arange(rows), draws_per_row(masking, length))
    ours = masked(tokens, candidates, np.full(rows, length, np.int32), words, masking, vocab_size=vocab_size)
    assert (ours["mlm_weights_BM"].sum(axis=1) == 19).all()  # round(0.15 * 128)
    row, slot = np.nonzero(ours["mlm_weights_BM"])
    position = ours["mlm_positions_BM"][row, slot]
    now = ours["tokens_BL"][row, position]
    total = rows * 19

    def near(count: int, share: float, trials: int = total) -> bool:
        return abs(count - trials * share) < 4 * (trials * share * (1 - share)) ** 0.5

    assert near((now == MASK).sum(), 0.8 + 0.1 / vocab_size)
    assert near((now == 60).sum(), 0.1)
    assert near(((now < vocab_size) & (now != MASK)).sum(), 0.1 * 49 / 50)
    assert not near((now == 60).sum(), 0.103)  # the bound is tight enough to see 3 %
    by_entry = np.bincount(now[now < vocab_size], minlength=vocab_size)
    assert all(near(by_entry[i], 0.1 / vocab_size) for i in range(vocab_size) if i != MASK)
    # Every place of the row is chosen alike: 19 of 126.
    by_place = np.bincount(position, minlength=length)
    assert by_place[0] == by_place[-1] == 0
    assert all(near(count, 19 / 126, rows) for count in by_place[1:-1])


def test_random_entries_come_from_the_entries_given():
    tokens, candidates, lengths = drawn_rows(11, rows=400, length=64)
    masking = MaskingConfig(max_predictions=9, mask=0, random=1, keep=0)
    words = drawn_words(12, rows=400, length=64, slots=9)
    entries = np.array([70, 71, 75], np.int32)
    rows = unmasked(tokens.copy(), candidates, lengths)
    fields = mask_rows(rows, words, masking, mask_id=MASK, entries=entries)
    row, slot = np.nonzero(fields["mlm_weights_BM"])
    now, counts = np.unique(rows.tokens_BL[row, fields["mlm_positions_BM"][row, slot]], return_counts=True)
    assert now.tolist() == entries.tolist()
    assert (abs(counts - len(row) / 3) < 4 * (len(row) * 2 / 9) ** 0.5).all()


# ---------------------------------------------------------------------------------------------
# Rare tokens more often
# ---------------------------------------------------------------------------------------------

COUNTS_V = np.random.default_rng(0).integers(0, 10**6, VOCAB)


@pytest.mark.parametrize("masking", CONFIGS, ids=lambda m: f"{m.rate}-{m.max_predictions}-{m.mask}")
def test_weighted_masking_equals_the_plain_version(masking):
    weights_V = rarity_weights(COUNTS_V, 0.7)
    inputs = drawn_rows(1, rows=200, length=64)
    words = drawn_words(2, rows=200, length=64, slots=masking.max_predictions)
    ours = masked(*inputs, words, masking, weights_V=weights_V)
    assert same(ours, plain(*inputs, words, masking, weights_V=weights_V))
    alike = masked(*inputs, words, masking)
    assert (ours["mlm_weights_BM"] == alike["mlm_weights_BM"]).all()  # as many in each row
    assert not same(ours, alike) or masking.rate == 0.9


def test_weights_are_the_counts_to_minus_rarity_and_what_is_not_there_counts_once():
    weights_V = rarity_weights(np.array([0, 1, 16, 10**10]), 0.5)
    np.testing.assert_allclose(weights_V, [1, 1, 0.25, 1e-5], rtol=1e-12)


def chosen_in_turn(weights: np.ndarray, number: int) -> np.ndarray:
    """How probable each of few tokens is to be among `number` that are drawn one after another, without replacement."""
    share = np.zeros(len(weights))
    for order in itertools.permutations(range(len(weights)), number):
        probability, left = 1.0, weights.sum()
        for token in order:
            probability *= weights[token] / left
            left -= weights[token]
        share[list(order)] += probability
    return share


def test_tokens_are_chosen_as_often_as_their_weights_say():
    """DistilBERT's torch.multinomial(counts^-0.7, number, replacement=False), exactly."""
    rows, number = 100_000, 2
    counts_V = np.array([0, 0, 0, 0, 0, 1000, 100, 10, 1, 300])
    tokens = np.tile(np.array([CLS, 5, 6, 7, 8, 9, SEP], np.int32), (rows, 1))
    candidates = (tokens != CLS) & (tokens != SEP)
    masking = MaskingConfig(rate=number / 7, max_predictions=number)
    words = draw_rows(5, np.arange(rows), draws_per_row(masking, 7))
    weights_V = rarity_weights(counts_V, 0.7)
    found = masked(tokens, candidates, np.full(rows, 7), words, masking, vocab_size=10, weights_V=weights_V)
    assert (found["mlm_weights_BM"].sum(axis=1) == number).all()
    by_entry = np.bincount(found["mlm_targets_BM"].ravel(), minlength=10)[5:]
    expected = chosen_in_turn(weights_V[5:], number)
    assert abs(expected.sum() - number) < 1e-12 and expected.max() > 20 * expected.min()
    error = (rows * expected * (1 - expected)) ** 0.5
    assert (abs(by_entry - rows * expected) < 4 * error).all()
    by_weight = number * weights_V[5:] / weights_V[5:].sum()  # as if a token could be drawn twice
    assert (abs(by_entry - rows * by_weight) > 8 * error).any()


# ---------------------------------------------------------------------------------------------
# Random numbers
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [1, 4, 7, 168])
def test_a_row_of_any_call_is_that_row_drawn_alone(draws):
    numbers = np.array([0, 3, 2**33 + 5, 2**33 + 6, 3])
    block = draw_rows(11, numbers, draws)
    assert block.shape == (5, draws) and block.dtype == np.uint32
    for row, number in zip(block, numbers, strict=True):
        np.testing.assert_array_equal(row, draw_rows(11, np.array([number]), draws)[0])


def test_the_random_numbers_are_these():
    """They decide every mask: another generator would make resumed runs differ from straight ones."""
    assert draw_rows(0, np.array([0, 10**9]), 3).tolist() == GOLDEN_DRAWS


def test_rows_seeds_and_places_all_differ():
    draws = draw_rows(11, np.arange(500), 8)
    assert len(np.unique(draws)) > 3990  # 4,000 draws of 2**32: 0.002 collisions expected
    assert (draws != draw_rows(12, np.arange(500), 8)).all()
    assert (draw_rows(11, np.array([1]), 8) != draw_rows(11, np.array([2**32]), 8)).all()


def test_random_bits_are_fair():
    draws = draw_rows(0, np.arange(20_000), 8)
    for bit in (0, 1, 15, 30, 31):
        ones = int(((draws >> np.uint32(bit)) & 1).sum())
        assert abs(ones - 80_000) < 4 * (160_000 / 4) ** 0.5
