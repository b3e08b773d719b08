"""Counter-based draws: the published generator, uniform, and without a trace of their order."""

from __future__ import annotations

import numpy as np
import pytest

from bert_jax.data.random import Purpose, below, fold, heads, root, uniform
from tests.data.instances import oracle_instances as oracle


def test_folding_gives_the_published_outputs_of_splitmix64():
    """Output of Vigna's splitmix64.c from the state 1234567."""
    outputs = fold(np.full(5, 1234567, np.uint64), np.arange(5))
    assert outputs.tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 20181011])
def test_chains_of_keys_equal_the_scalar_version(seed):
    documents = np.array([0, 1, 7, 10**9])
    keys = fold(fold(root(seed), documents), np.array([0, 3, 1, 2]))
    chains = [(seed, 0, 0), (seed, 1, 3), (seed, 7, 1), (seed, 10**9, 2)]
    assert keys.tolist() == [oracle.bits(*chain) for chain in chains]
    assert uniform(keys, Purpose.COIN).tolist() == [oracle.uniform(*c, Purpose.COIN) for c in chains]
    counts = np.array([1, 2, 1000, 2**40])
    expected = [oracle.below(n, *c, 5) for n, c in zip(counts.tolist(), chains, strict=True)]
    assert below(keys, 5, counts).tolist() == expected


def test_heads_count_the_coins_one_by_one():
    keys = root(3) + np.arange(200, dtype=np.uint64)
    tosses = np.arange(200) % 150
    expected = [
        sum(oracle.bits_of(key, Purpose.FRONT_A + 64 * (t // 64)) >> (t % 64) & 1 for t in range(n))
        for key, n in zip(keys.tolist(), tosses.tolist(), strict=True)
    ]
    assert heads(keys, Purpose.FRONT_A, tosses).tolist() == expected
    assert heads(keys[:0], Purpose.FRONT_A, tosses[:0]).tolist() == []


def test_draws_are_uniform_and_independent_of_their_neighbours():
    count = 200_000
    keys = fold(root(5), np.arange(count))
    for purpose in (Purpose.SHORT, Purpose.COIN, Purpose.DOCUMENT):
        draws = uniform(keys, purpose)
        assert draws.min() >= 0 and draws.max() < 1
        histogram = np.bincount((draws * 100).astype(int), minlength=100)
        # 99 degrees of freedom: mean 99, standard deviation sqrt(198)
        assert abs(((histogram - count / 100) ** 2 / (count / 100)).sum() - 99) < 4 * 198**0.5
        for other in (draws[1:], uniform(keys, purpose + 1)[:-1]):
            assert abs(np.corrcoef(draws[:-1], other)[0, 1]) < 4 / count**0.5


def test_below_reaches_every_number_and_no_other():
    keys = fold(root(6), np.arange(60_000))
    for count in (1, 2, 3, 60):
        found = np.bincount(below(keys, Purpose.SPLIT, count))
        assert len(found) == count
        assert abs(found - 60_000 / count).max() <= 4.5 * (60_000 / count) ** 0.5
    assert set(below(keys, Purpose.SPLIT, 0).tolist()) == {0}


def test_heads_are_binomial():
    tosses = np.full(50_000, 70)
    found = heads(fold(root(7), np.arange(50_000)), Purpose.FRONT_B, tosses)
    assert abs(found.mean() - 35) < 4 * (70 / 4 / 50_000) ** 0.5
    assert found.var() == pytest.approx(70 / 4, rel=0.03)
