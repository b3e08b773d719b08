"""Whole words, n-grams and spans: against a row-by-row version, and against their exact distributions."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.config import MaskingConfig
from bert_jax.data.batches import masking_words as module
from bert_jax.data.batches.masking import draw_rows, draws_per_row, mask_rows
from bert_jax.data.batches.masking_words import choose_units, length_thresholds
from bert_jax.data.batches.rows import Rows

PAD, CLS, SEP, MASK = 0, 2, 3, 4
VOCAB = 1000
UNITS = ["whole_word", "ngram", "span"]


def drawn_rows(seed: int, *, rows: int, length: int, cut: float = 0.6, fill: float = 0.5) -> Rows:
    """[CLS] A [SEP] or [CLS] A [SEP] B [SEP], padded; a token begins a word with probability `cut`."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(5, VOCAB, (rows, length)).astype(np.int32)
    lengths = rng.integers(int(3 + fill * (length - 3)), length + 1, rows)
    tokens[:, 0] = CLS
    for row, n in zip(tokens, lengths, strict=True):
        if n > 4 and rng.random() < 0.8:
            row[rng.integers(2, n - 2)] = SEP
        row[n - 1] = SEP
        row[n:] = PAD
    text = (np.arange(length) < lengths[:, None]) & (tokens != CLS) & (tokens != SEP)
    starts = text & (rng.random((rows, length)) < cut)
    starts[:, 1:] |= text[:, 1:] & ~text[:, :-1]
    unused = np.zeros(0)
    return Rows(tokens, unused, unused, unused, unused, unused, unused, lengths, text, starts)


def drawn(seed: int, rows: Rows, masking: MaskingConfig) -> np.ndarray:
    shape = (len(rows.lengths_B), draws_per_row(masking, rows.tokens_BL.shape[1]))
    return np.random.default_rng(seed).integers(0, 2**32, shape, dtype=np.uint32)


def wanted(masking: MaskingConfig, length: int) -> int:
    return min(masking.max_predictions, max(1, round(masking.rate * int(length))))


def lengths_and_shares(masking: MaskingConfig) -> dict[int, float]:
    """The distribution as the papers write it."""
    if masking.unit == "whole_word":
        shares = {1: 1.0}
    elif masking.unit == "ngram":
        shares = {n: 1 / n for n in range(1, masking.max_ngram + 1)}
    else:
        shares = {n: masking.span_p * (1 - masking.span_p) ** (n - 1) for n in range(1, masking.max_span + 1)}
    return {n: share / sum(shares.values()) for n, share in shares.items()}


def words_of(text: np.ndarray, starts: np.ndarray) -> list[list[list[int]]]:
    """The words of each segment of a row, each a list of positions."""
    segments: list[list[list[int]]] = []
    for position in np.flatnonzero(text).tolist():
        if not text[position - 1]:
            segments.append([])
        if starts[position]:
            segments[-1].append([])
        segments[-1][-1].append(position)
    return segments


def plain_units(text, starts, budget: int, draws, masking: MaskingConfig) -> list[list[list[int]]]:
    """The words of each unit of a row, in turn: all places looked at anew each time."""
    length = len(text)
    segments = words_of(text, starts)
    priority = {position: int(draws[position]) >> 1 for position in range(length)}
    taken: set[int] = set()
    units: list[list[list[int]]] = []
    bounds = np.cumsum(list(lengths_and_shares(masking).values()))
    while budget > 0:
        number = 1
        if masking.unit != "whole_word":
            draw = int(draws[length + 2 * masking.max_predictions + len(units)])
            number += sum(draw >= round(bound * 2**32) for bound in bounds[:-1])
        places: list[list[list[int]]] = []
        while number and not places:
            windows = [words[i : i + number] for words in segments for i in range(len(words) - number + 1)]
            places = [
                window
                for window in windows
                if not {word[0] for word in window} & taken and sum(map(len, window)) <= budget
            ]
            number -= 1
        if not places:
            break
        best = max(places, key=lambda window: (priority[window[0][0]], -window[0][0]))
        taken |= {word[0] for word in best}
        budget -= sum(map(len, best))
        units.append(best)
    return units


def plain(rows: Rows, draws: np.ndarray, masking: MaskingConfig) -> dict[str, np.ndarray]:
    count, length = rows.tokens_BL.shape
    slots = masking.max_predictions
    out = rows.tokens_BL.copy()
    positions, targets = np.zeros((count, slots), np.int32), np.zeros((count, slots), np.int32)
    weights = np.zeros((count, slots), np.float32)
    for r in range(count):
        units = plain_units(
            rows.is_text_BL[r], rows.word_starts_BL[r], wanted(masking, rows.lengths_B[r]), draws[r], masking
        )
        turn_of = {p: turn for turn, unit in enumerate(units) for word in unit for p in word}
        for slot, position in enumerate(sorted(turn_of)):
            positions[r, slot], weights[r, slot] = position, 1
            targets[r, slot] = rows.tokens_BL[r, position]
            fate = int(draws[r, length + (turn_of[position] if masking.unit == "span" else slot)])
            if fate < masking.mask * 2**32:
                out[r, position] = MASK
            elif fate < (masking.mask + masking.random) * 2**32:
                out[r, position] = int(draws[r, length + slots + slot]) * VOCAB >> 32
    return {
        "tokens_BL": out,
        "mlm_positions_BM": positions,
        "mlm_targets_BM": targets,
        "mlm_weights_BM": weights,
    }


def masked(rows: Rows, draws: np.ndarray, masking: MaskingConfig) -> dict[str, np.ndarray]:
    own = Rows(**(vars(rows) | {"tokens_BL": rows.tokens_BL.copy()}))
    fields = mask_rows(own, draws, masking, mask_id=MASK, entries=np.arange(VOCAB, dtype=np.int32))
    return {"tokens_BL": own.tokens_BL} | fields


def assert_same(ours, theirs) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert ours[name].dtype == array.dtype
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


# ---------------------------------------------------------------------------------------------
# Against the plain version
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    ("length", "rate", "cut"), [(64, 0.15, 0.7), (64, 0.5, 0.3), (40, 0.95, 0.6), (128, 0.15, 0.8)]
)
def test_masks_equal_the_plain_version(unit, length, rate, cut):
    masking = MaskingConfig(
        unit=unit, rate=rate, max_predictions=int(rate * length) + 1, mask=0.4, random=0.3, keep=0.3
    )
    rows = drawn_rows(1, rows=60, length=length, cut=cut)
    draws = drawn(2, rows, masking)
    assert_same(masked(rows, draws, masking), plain(rows, draws, masking))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_masks_of_any_small_rows_equal_the_plain_version(data):
    length = data.draw(st.integers(4, 24))
    masking = MaskingConfig(
        unit=data.draw(st.sampled_from(UNITS)),
        rate=data.draw(st.sampled_from([0.1, 0.15, 0.5, 0.9])),
        max_predictions=data.draw(st.integers(1, length)),
        max_ngram=data.draw(st.integers(1, 4)),
        max_span=data.draw(st.integers(1, 12)),
        span_p=data.draw(st.sampled_from([0.1, 0.2, 0.9])),
        mask=0.5,
        random=0.25,
        keep=0.25,
    )
    seed = data.draw(st.integers(0, 2**32))
    cut = data.draw(st.sampled_from([0.0, 0.3, 0.6, 1.0]))
    rows = drawn_rows(seed, rows=data.draw(st.integers(1, 7)), length=length, cut=cut, fill=0.0)
    draws = drawn(seed + 1, rows, masking)
    if data.draw(st.booleans()):
        draws[:, :length] = data.draw(st.integers(0, 2**32 - 1))  # equal priorities: from the left
    assert_same(masked(rows, draws, masking), plain(rows, draws, masking))


def test_the_comparison_sees_each_kind_of_wrong_draw():
    masking = MaskingConfig(unit="span", max_predictions=20, rate=0.3, mask=0.4, random=0.4, keep=0.2)
    rows = drawn_rows(1, rows=40, length=64)
    draws = drawn(2, rows, masking)
    right = plain(rows, draws, masking)
    for block in (slice(0, 64), slice(64, 84), slice(84, 104), slice(104, 124)):
        wrong = draws.copy()
        wrong[:, block] = ~wrong[:, block]
        ours = masked(rows, wrong, masking)
        assert any((ours[name] != right[name]).any() for name in right)


@pytest.mark.parametrize("cut", [0.2, 0.7, 1.0])
def test_single_words_at_once_are_those_placed_one_by_one(cut):
    """A threshold that no draw reaches makes the length 1 always, by the general way."""
    rows = drawn_rows(3, rows=200, length=96, cut=cut)
    budget = np.maximum(1, rows.lengths_B // 5)
    priority = np.random.default_rng(4).integers(0, 2**31, (200, 96), dtype=np.uint32)
    inputs = rows.is_text_BL, rows.word_starts_BL, budget, priority
    fast = choose_units(*inputs, None, np.zeros(0, np.uint32))
    slow = choose_units(*inputs, np.zeros((200, 40), np.uint32), np.array([2**32 - 1], np.uint32))
    for name in ("slot", "tokens", "turn"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name), err_msg=name)


def test_where_every_token_is_a_word_whole_words_are_single_tokens():
    rows = drawn_rows(5, rows=100, length=64, cut=1.0)
    words, tokens = (MaskingConfig(unit=unit, max_predictions=10) for unit in ("whole_word", "token"))
    draws = drawn(6, rows, words)
    assert_same(masked(rows, draws, words), masked(rows, draws, tokens))


@pytest.mark.parametrize("unit", UNITS)
def test_rows_without_text_stay_as_they_are(unit):
    rows = drawn_rows(7, rows=5, length=24)
    rows.is_text_BL[1] = False  # their word starts stay, as in the last batch of an evaluation
    masking = MaskingConfig(unit=unit, max_predictions=5)
    ours = masked(rows, drawn(8, rows, masking), masking)
    assert (ours["tokens_BL"][1] == rows.tokens_BL[1]).all()
    assert (ours["mlm_weights_BM"].any(axis=1)).tolist() == [True, False, True, True, True]
    rows.is_text_BL[:] = False
    assert not masked(rows, drawn(8, rows, masking), masking)["mlm_weights_BM"].any()


# ---------------------------------------------------------------------------------------------
# Distributions, over 10^6 tokens
# ---------------------------------------------------------------------------------------------


def near(count: float, share: float, trials: int) -> bool:
    return abs(count - trials * share) <= 4 * (trials * share * (1 - share)) ** 0.5


@pytest.fixture(scope="module", params=UNITS)
def million(request):
    """(masking, rows, units, fields) of 8,192 full rows of 128 in which words have 1.4 tokens."""
    count, length = 8192, 128
    masking = MaskingConfig(unit=request.param, max_predictions=20)
    rng = np.random.default_rng(9)
    tokens = np.full((count, length), VOCAB, np.int32)  # no random entry is like it
    tokens[:, 0], tokens[:, 60], tokens[:, -1] = CLS, SEP, SEP
    text = tokens == VOCAB
    starts = text & (rng.random((count, length)) < 1 / 1.4)
    starts[:, 1:] |= text[:, 1:] & ~text[:, :-1]
    unused = np.zeros(0)
    rows = Rows(tokens, *[unused] * 6, np.full(count, length), text, starts)
    draws = draw_rows(10, np.arange(count), draws_per_row(masking, length))
    thresholds = length_thresholds(masking)
    units = choose_units(
        text,
        starts,
        np.full(count, 19),
        ~draws[:, :length] >> np.uint32(1),
        draws[:, -20:] if len(thresholds) else None,
        thresholds,
    )
    return masking, rows, units, masked(rows, draws, masking)


def test_the_units_are_those_that_are_masked(million):
    _, rows, units, fields = million
    chosen = np.zeros(rows.tokens_BL.size, bool)
    for offset in range(int(units.tokens.max())):
        chosen[units.slot[units.tokens > offset] + offset] = True
    row, slot = np.nonzero(fields["mlm_weights_BM"])
    assert (np.flatnonzero(chosen) == row * 128 + fields["mlm_positions_BM"][row, slot]).all()


def test_words_are_masked_whole_and_special_tokens_never(million):
    _, rows, _, fields = million
    row, slot = np.nonzero(fields["mlm_weights_BM"])
    hidden = np.zeros(rows.tokens_BL.shape, bool)
    hidden[row, fields["mlm_positions_BM"][row, slot]] = True
    assert not hidden[~rows.is_text_BL].any()
    word = np.cumsum(rows.word_starts_BL | ~rows.is_text_BL)
    some = np.bincount(word, weights=hidden.ravel()) > 0
    all_ = np.bincount(word, weights=~hidden.ravel()) == 0
    assert (some == all_)[1:].all() and some.any()


def test_the_number_predicted_is_never_more_than_asked_and_rarely_less(million):
    _, _, _, fields = million
    counts = fields["mlm_weights_BM"].sum(axis=1)
    assert counts.max() == 19
    # A row stops short only if every free word has more tokens than are left: about never with 1.4 a word.
    assert (counts == 19).mean() > 0.999


def test_lengths_follow_their_distribution(million):
    """Of the first unit of each row, and of all units that more than the longest can follow."""
    masking, rows, units, _ = million
    word = np.cumsum(rows.word_starts_BL.ravel())
    number = word[units.slot + units.tokens - 1] - word[units.slot] + 1
    expected = lengths_and_shares(masking)
    first = number[units.turn == 0]
    assert len(first) == len(rows.lengths_B)
    for n, share in expected.items():
        assert near((first == n).sum(), share, len(first)), n
    if masking.unit == "ngram":
        # Words of the first three turns always fit: 9 words of 19 tokens, all but never over 2 tokens each.
        early = number[units.turn < 3]
        for n, share in expected.items():
            assert near((early == n).sum(), share, len(early)), n
    assert set(number.tolist()) == set(expected)


def test_fates_are_a_token_s_own_or_a_span_s(million):
    masking, _, units, fields = million
    row, slot = np.nonzero(fields["mlm_weights_BM"])
    shown = fields["tokens_BL"][row, fields["mlm_positions_BM"][row, slot]]
    fate = np.where(shown == MASK, 0, np.where(shown == VOCAB, 2, 1))
    by_chance = 0.1 / VOCAB  # a random entry may be [MASK]
    expected = (0.8 + by_chance, 0.1 - by_chance, 0.1)
    if masking.unit != "span":
        for kind, share in enumerate(expected):
            assert near((fate == kind).sum(), share, len(fate))
        return
    end = np.cumsum(units.tokens)  # units and predictions are both sorted by place
    first, last = fate[end - units.tokens], fate[end - 1]
    lone_mask = (shown == MASK) & (np.repeat(first, units.tokens) == 1)  # a random entry that is [MASK]
    same = np.repeat(first, units.tokens) == fate
    assert (same | lone_mask).mean() > 0.9995
    assert (first == last).mean() > 0.9995
    for kind, share in enumerate(expected):
        assert near((first == kind).sum(), share, len(first))


def test_every_place_of_a_row_is_hidden_alike_in_the_middle_of_a_segment():
    count, length = 20_000, 64
    masking = MaskingConfig(unit="ngram", max_predictions=10)
    text = np.ones((count, length), bool)
    text[:, [0, -1]] = False
    rows = Rows(np.full((count, length), 9, np.int32), *[np.zeros(0)] * 6, np.full(count, length), text, text)
    fields = masked(rows, draw_rows(1, np.arange(count), draws_per_row(masking, length)), masking)
    hits = np.bincount(fields["mlm_positions_BM"].ravel(), minlength=length)
    assert hits[0] == hits[-1] == 0
    middle = hits[10:-10]
    assert all(near(hit, middle.mean() / count, count) for hit in middle)


@pytest.mark.parametrize("masking", [
    MaskingConfig(unit="ngram", max_ngram=3),
    MaskingConfig(unit="ngram", max_ngram=5),
    MaskingConfig(unit="span", span_p=0.2, max_span=10),
    MaskingConfig(unit="span", span_p=0.9, max_span=3),
    MaskingConfig(unit="whole_word"),
])  # fmt: skip
def test_thresholds_are_the_distributions_of_the_papers(masking):
    bounds = [0, *length_thresholds(masking).tolist(), 2**32]
    shares = list(lengths_and_shares(masking).values())
    np.testing.assert_allclose(np.diff(bounds) / 2**32, shares, atol=1e-9)
    if masking.unit == "span" and masking.max_span == 10:
        mean = sum(n * share for n, share in lengths_and_shares(masking).items())
        assert mean == pytest.approx(3.8, abs=0.01)  # SpanBERT, section 3.1


def test_the_worked_examples_of_the_docstrings():
    assert doctest.testmod(module) == doctest.TestResults(failed=0, attempted=12)
