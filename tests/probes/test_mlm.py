"""MLM scores and their breakdowns, from answers that are made up."""

import numpy as np
import pytest

from bert_jax.probes import mlm

ROWS, SLOTS, LENGTH, VOCABULARY = 40, 6, 37, 50


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    return mlm.Predictions(
        loss_RM=rng.exponential(size=(ROWS, SLOTS)).astype(np.float32),
        hit_RM=rng.integers(0, 2, (ROWS, SLOTS)).astype(np.float32),
        targets_RM=rng.integers(0, VOCABULARY, (ROWS, SLOTS)),
        positions_RM=rng.integers(0, LENGTH, (ROWS, SLOTS)),
        weights_RM=(rng.random((ROWS, SLOTS)) < 0.8).astype(np.float32),
    )


@pytest.fixture
def counts():
    return np.round(10 ** np.linspace(-1, 6, VOCABULARY)).astype(np.int64)


def slots(found):
    """(loss, hit, target, position) of every slot in use."""
    for r in range(ROWS):
        for m in range(SLOTS):
            if found.weights_RM[r, m]:
                yield tuple(
                    float(getattr(found, f"{name}_RM")[r, m])
                    for name in ("loss", "hit", "targets", "positions")
                )


def test_scores_are_the_means_over_slots_in_use(found):
    loss, accuracy = mlm.scores(found)
    used = list(slots(found))
    assert loss.value == pytest.approx(np.mean([slot[0] for slot in used]))
    assert accuracy.value == pytest.approx(np.mean([slot[1] for slot in used]))
    assert loss.weight_R.sum() == len(used)
    assert (loss.name, loss.better, accuracy.name, accuracy.better) == (
        "mlm.loss", "lower", "mlm.accuracy", "higher"
    )  # fmt: skip


def test_breakdowns_sum_to_the_total(found, counts):
    totals = {score.name: score.total_R.sum() for score in mlm.scores(found)}
    parts = mlm.breakdowns(found, counts, LENGTH)
    assert len(parts) == 4
    for part in parts:
        assert sum(part.counts) == found.weights_RM.sum()
        total = sum(v * n for v, n in zip(part.values, part.counts, strict=True) if v is not None)
        assert total == pytest.approx(totals[part.name.partition(" ")[0]])


def test_bins_of_frequency_equal_a_plain_loop(found, counts):
    part = next(p for p in mlm.breakdowns(found, counts, LENGTH) if p.name == "mlm.loss by frequency")
    assert part.labels == ("<1", "1-10", "10-100", "100-1,000", "1,000-10,000", ">=10,000")
    bins = [[] for _ in part.labels]
    for loss, _, target, _ in slots(found):
        per_million = counts[int(target)] / counts.sum() * 1e6
        bins[sum(per_million >= 10.0**k for k in range(5))].append(loss)
    assert part.counts == tuple(map(len, bins))
    for value, losses in zip(part.values, bins, strict=True):
        assert value is None if not losses else value == pytest.approx(np.mean(losses))


def test_bins_of_position_equal_a_plain_loop(found, counts):
    part = next(p for p in mlm.breakdowns(found, counts, LENGTH) if p.name == "mlm.accuracy by position")
    bounds = [tuple(map(int, label.split("-"))) for label in part.labels]
    assert [first for first, _ in bounds] == [0] + [last + 1 for _, last in bounds[:-1]]
    assert bounds[-1][1] == LENGTH - 1
    for (first, last), value, count in zip(bounds, part.values, part.counts, strict=True):
        hits = [hit for _, hit, _, position in slots(found) if first <= position <= last]
        assert (value, count) == (pytest.approx(np.mean(hits)), len(hits))


def test_an_empty_bin_has_no_value(found):
    part = mlm.breakdowns(found, np.ones(VOCABULARY, np.int64), LENGTH)[0]
    assert part.values[0] is None and part.counts[0] == 0
    assert part.counts[-1] == found.weights_RM.sum()


def test_rows_that_fill_up_the_last_batch_are_cut(found):
    both = mlm.Predictions.joined([found, found], ROWS + 5)
    np.testing.assert_array_equal(both.loss_RM, np.concatenate([found.loss_RM, found.loss_RM[:5]]))
