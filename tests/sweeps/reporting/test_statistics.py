"""Statistics against analytic values, second implementations, and simulated sweeps whose truth is known."""

import itertools
import math

import numpy as np
import pytest

from bert_jax.sweeps.reporting.statistics import Summary, difference, holm, row_replicates, summary

# Student's t at 97.5 % by degrees of freedom, from tables.
T_975 = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262}


def compared(variant_SR, baseline_SR, weight_SR=None, *, replicates=10_000, generator=1):
    """Ours - theirs of n seeds on R rows."""
    weight_SR = np.ones_like(variant_SR) if weight_SR is None else weight_SR
    drawn = row_replicates(
        np.concatenate([variant_SR, baseline_SR]),
        np.concatenate([weight_SR, weight_SR]),
        replicates=replicates,
        generator=generator,
    )
    seeds, rows = variant_SR.shape
    variant_S, baseline_S = (values.sum(1) / weight_SR.sum(1) for values in (variant_SR, baseline_SR))
    return difference(
        variant_S,
        baseline_S,
        rows=rows,
        variant_SB=drawn[:seeds],
        baseline_SB=drawn[seeds:],
        generator=generator,
    )


def test_a_summary_divides_by_n_minus_1():
    assert summary([1.0, 2.0, 6.0]) == Summary(3, 3.0, math.sqrt(7))
    assert summary([2.0]).mean == 2.0 and math.isnan(summary([2.0]).sd)
    assert summary([]).n == 0 and math.isnan(summary([]).mean)


# ---------------------------------------------------------------------------------------------
# Holm
# ---------------------------------------------------------------------------------------------


def test_holm_by_hand():
    # Sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, each at least the one before.
    assert holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx([0.03, 0.06, None, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([None, None]) == [None, None]
    assert holm([]) == []


def closed_testing(p_values):
    """Holm as what it stands for: a hypothesis falls when every set of hypotheses with it falls by Bonferroni."""
    places = range(len(p_values))
    sets = [s for size in places for s in itertools.combinations(places, size + 1)]
    return [
        max(min(1.0, len(s) * min(p_values[k] for k in s)) for s in sets if place in s) for place in places
    ]


def test_holm_equals_the_closed_test():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = list(rng.random(rng.integers(1, 7)) ** 2)
        assert holm(p) == pytest.approx(closed_testing(p))


# ---------------------------------------------------------------------------------------------
# One source of chance at a time
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_from_seeds_alone_the_interval_is_students(seeds):
    rng = np.random.default_rng(seeds)
    ours, theirs = rng.normal(0.3, 1, seeds), rng.normal(0, 1, seeds)
    found = difference(ours, theirs)
    half = T_975[seeds - 1] * np.std(ours - theirs, ddof=1) / math.sqrt(seeds)
    assert found.value == pytest.approx(np.mean(ours) - np.mean(theirs))
    tolerance = 0.06 if seeds == 2 else 0.03
    assert found.low == pytest.approx(found.value - half, abs=tolerance * half)
    assert found.high == pytest.approx(found.value + half, abs=tolerance * half)
    assert (found.seeds, found.rows) == (seeds, 0)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("seeds", [3, 5])
def test_p_is_that_of_the_paired_t_test(seeds, shift):
    rng = np.random.default_rng(4)
    paired = rng.normal(shift, 1, seeds)
    t = abs(paired.mean()) / (np.std(paired, ddof=1) / math.sqrt(seeds))
    freedom = seeds - 1  # for which Student's distribution is algebraic
    share = t / math.sqrt(freedom + t**2)
    expected = 1 - (share if freedom == 2 else share * (1 + freedom / 2 / (freedom + t**2)))
    assert difference(paired, np.zeros(seeds)).p == pytest.approx(expected, abs=1e-4, rel=0.05)


def test_from_rows_alone_the_standard_error_is_that_of_a_ratio():
    rng = np.random.default_rng(0)
    rows = 500
    weight = rng.integers(1, 8, rows).astype(float)
    ours, theirs = weight * rng.normal(2.0, 1, rows), weight * rng.normal(1.9, 1, rows)
    found = compared(ours[None], theirs[None], weight[None])
    ratio = (ours - theirs).sum() / weight.sum()
    error = math.sqrt((((ours - theirs) - ratio * weight) ** 2).sum()) / weight.sum()  # the delta method
    assert found.value == pytest.approx(ratio)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.04)
    assert found.rows == rows


def test_replicates_equal_a_loop_over_the_rows_drawn():
    rng = np.random.default_rng(0)
    total, weight = rng.normal(size=(3, 40)), rng.integers(1, 5, (3, 40)).astype(float)
    drawn = row_replicates(total, weight, replicates=20, generator=5)
    again = np.random.default_rng(5).integers(0, 40, (20, 40), dtype=np.int32)
    loop = [[total[t, picked].sum() / weight[t, picked].sum() for picked in again] for t in range(3)]
    np.testing.assert_allclose(drawn, loop, rtol=1e-12)


def test_replicates_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch):
    total, weight = np.arange(24.0).reshape(2, 12), np.ones((2, 12))
    whole = row_replicates(total, weight, replicates=50)
    monkeypatch.setattr("bert_jax.sweeps.reporting.statistics._CELLS", 12 * 7)
    np.testing.assert_allclose(row_replicates(total, weight, replicates=50), whole, rtol=1e-12)


def test_a_row_drawn_without_weight_is_left_out():
    weight = np.array([[1.0, 0.0]])
    drawn = row_replicates(np.array([[3.0, 0.0]]), weight, replicates=200)
    assert np.isnan(drawn).any() and set(drawn[np.isfinite(drawn)]) == {3.0}
    assert difference([3.0], [3.0], rows=2, variant_SB=drawn, baseline_SB=drawn).p == 1.0


def test_one_seed_without_rows_has_no_interval():
    found = difference([1.0], [0.5])
    assert (found.value, found.low, found.high, found.p) == (0.5, None, None, None)


# ---------------------------------------------------------------------------------------------
# What must not matter, and what must
# ---------------------------------------------------------------------------------------------


def crossed(rng, *, seeds, rows, seed_sd, row_sd, noise_sd, effect=0.0):
    """Ours and theirs: rows that are hard for both, and differences by seed, by row and by both."""
    hard_R = rng.normal(size=rows)
    between_SR = (
        effect
        + seed_sd * rng.normal(size=(seeds, 1))
        + row_sd * rng.normal(size=rows)
        + noise_sd * rng.normal(size=(seeds, rows))
    )
    baseline_SR = np.broadcast_to(hard_R, between_SR.shape)
    return baseline_SR + between_SR, baseline_SR


@pytest.mark.parametrize("seeds", [1, 3])
def test_swapping_the_variants_changes_signs_alone(seeds):
    ours, theirs = crossed(
        np.random.default_rng(2), seeds=seeds, rows=60, seed_sd=0.1, row_sd=1, noise_sd=1, effect=0.2
    )
    one, other = compared(ours, theirs), compared(theirs, ours)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), rel=1e-9)
    assert one.p == other.p


def test_the_order_of_rows_matters_no_more_than_other_draws():
    ours, theirs = crossed(
        np.random.default_rng(3), seeds=3, rows=200, seed_sd=0.1, row_sd=1, noise_sd=1, effect=0.3
    )
    order = np.random.default_rng(0).permutation(200)
    one, other = compared(ours, theirs), compared(ours[:, order], theirs[:, order])
    assert one.value == pytest.approx(other.value)
    width = one.high - one.low
    assert abs(one.low - other.low) < 0.03 * width and abs(one.high - other.high) < 0.03 * width


def test_pairing_by_row_takes_out_what_makes_rows_hard():
    rng = np.random.default_rng(5)
    ours, theirs = crossed(rng, seeds=1, rows=300, seed_sd=0, row_sd=0.1, noise_sd=0)
    paired = compared(ours, theirs)
    shuffled = compared(ours[:, rng.permutation(300)], theirs)
    assert (shuffled.high - shuffled.low) > 8 * (paired.high - paired.low)


def test_p_is_small_where_the_effect_is_large_and_one_where_there_is_none():
    small = dict(seeds=3, rows=100, seed_sd=0.01, row_sd=0.1, noise_sd=0.1)
    large = compared(*crossed(np.random.default_rng(6), **small, effect=1.0))
    assert large.p < 0.002 and large.low > 0.9
    equal = np.ones((3, 20))
    assert compared(equal, equal).p == 1.0


# 95 % of 400 simulations are 380 +- 4.4 (standard error): these bounds are three of them away.
@pytest.mark.parametrize(
    ("seeds", "model", "lowest", "highest"),
    [
        (3, {"rows": 0}, 367, 393),
        (5, {"rows": 0}, 367, 393),
        (1, {"rows": 100, "seed_sd": 0, "row_sd": 1, "noise_sd": 1}, 367, 393),
        (3, {"rows": 100, "seed_sd": 0.3, "row_sd": 1, "noise_sd": 1}, 367, 400),
        (5, {"rows": 100, "seed_sd": 0.3, "row_sd": 1, "noise_sd": 1}, 367, 400),
    ],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(seeds, model, lowest, highest):
    rng = np.random.default_rng([seeds, model["rows"]])
    covered = found_nothing = 0
    for trial in range(400):
        if model["rows"]:
            found = compared(*crossed(rng, seeds=seeds, **model), replicates=200, generator=trial)
        else:
            found = difference(rng.normal(size=seeds), np.zeros(seeds), replicates=200, generator=trial)
        covered += found.low <= 0 <= found.high
        found_nothing += found.p > 0.05
    assert lowest <= covered <= highest
    assert lowest <= found_nothing <= highest
