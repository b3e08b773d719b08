"""Packing: every example once, no row too long, the rows that best fit one by one gives, and few empty slots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.instances.packing import pack_examples, plan_packs
from tests.data.instances.oracle_instances import best_fit


def rows_of(lengths, **options) -> list[list[int]]:
    order, bounds = pack_examples(np.asarray(lengths), **options)
    return [order[low:high].tolist() for low, high in zip(bounds[:-1], bounds[1:], strict=True)]


def short_documents(count: int) -> np.ndarray:
    """Lengths like an encyclopaedia's at L = 512: half of the slots would be padding."""
    rng = np.random.default_rng(0)
    return np.minimum(512, 3 + rng.lognormal(5.2, 0.9, count)).astype(np.int64)


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(3, 40), min_size=1, max_size=60),
    depth=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_the_rows_are_those_of_best_fit_one_by_one(lengths, depth, seed):
    rows = rows_of(lengths, capacity=40, depth=depth, seed=seed)
    assert sorted(n for row in rows for n in row) == list(range(len(lengths)))
    descending = sorted(lengths, reverse=True)
    expected = [[descending[place] for place in row] for row in best_fit(descending, 40, depth)]
    assert sorted([lengths[n] for n in row] for row in rows) == sorted(expected)
    assert all(len(row) <= depth and sum(lengths[n] for n in row) <= 40 for row in rows)


def test_equal_lengths_share_rows():
    assert plan_packs(np.bincount([10] * 25), capacity=100, depth=16) == [(2, (10,) * 10), (1, (10,) * 5)]
    assert plan_packs(np.bincount([10] * 25), capacity=100, depth=4) == [(6, (10,) * 4), (1, (10,))]


def test_nothing_to_pack_is_no_row():
    assert rows_of(np.zeros(0, np.int64), capacity=8, depth=2, seed=0) == []


@pytest.mark.parametrize("depth", [8, 16])
def test_short_documents_fill_97_percent_of_the_slots(depth):
    lengths = short_documents(50_000)
    assert lengths.mean() / 512 < 0.55
    _, bounds = pack_examples(lengths, capacity=512, depth=depth, seed=0)
    assert lengths.sum() / (512 * (len(bounds) - 1)) >= 0.97


def test_examples_of_one_length_are_dealt_in_an_order_of_the_seed():
    lengths = np.full(3000, 100)
    rows = rows_of(lengths, capacity=300, depth=3, seed=1)
    assert rows == rows_of(lengths, capacity=300, depth=3, seed=1)
    assert rows != rows_of(lengths, capacity=300, depth=3, seed=2)
    neighbours = sum(abs(a - b) == 1 for row in rows for a, b in zip(row[:-1], row[1:], strict=True))
    assert neighbours < 10  # 2000 pairs, of which 2 in 3000 by chance
