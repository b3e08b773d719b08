"""Batches of labelled examples: which examples a step has, and where each lies."""

import dataclasses

import numpy as np
import pytest

from bert_jax.batch import Host
from bert_jax.data.labelled.batches import EvaluationBatches, Layout, TrainingBatches
from bert_jax.data.labelled.features import Features, cached
from bert_jax.data.labelled.packing import best_fit, row_sizes

EXAMPLES, BATCH = 150, 16


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(0)
    lengths_S = rng.integers(4, 70, EXAMPLES).astype(np.int32)
    total = int(lengths_S.sum())
    return Features(
        tokens_T=rng.integers(5, 1000, total).astype(np.int32),
        type_ids_T=rng.integers(0, 2, total).astype(np.uint8),
        lengths_S=lengths_S,
        examples_S=np.arange(EXAMPLES, dtype=np.int32),
        of_sequences={"labels_P": (np.arange(EXAMPLES) * 7 % 5).astype(np.int32)},
    )


def layout_of(features, batching="pack"):
    return Layout.of(features, batching=batching, batch_size=BATCH)


def training(features, batching="pack", **options):
    layout = layout_of(features, batching)
    return TrainingBatches(features, layout, batch_size=BATCH, batching=batching, seed=3, **options)


def held(batch, features):
    """{example: (tokens, types, label)} as a batch has them, found by pack ids alone."""
    found = {}
    for row, ids in enumerate(batch["features_BP"]):
        for slot, number in enumerate(ids):
            if number < 0:
                assert batch["weights_BP"][row, slot] == 0
                continue
            places = np.flatnonzero(batch["pack_ids_BL"][row] == slot + 1)
            assert (np.diff(places) == 1).all() and places[0] == batch["first_BP"][row, slot]
            assert batch["positions_BL"][row, places].tolist() == list(range(len(places)))
            assert batch["weights_BP"][row, slot] == 1 and int(number) not in found
            found[int(number)] = (
                batch["tokens_BL"][row, places].tolist(),
                batch["type_ids_BL"][row, places].tolist(),
                int(batch["labels_BP"][row, slot]),
            )
    return found


def expected(features, number):
    start = int(features.lengths_S[:number].sum())
    part = slice(start, start + int(features.lengths_S[number]))
    label = int(features.of_sequences["labels_P"][number])
    return features.tokens_T[part].tolist(), features.type_ids_T[part].tolist(), label


@pytest.mark.parametrize("batching", ["pack", "pad"])
def test_a_step_has_exactly_its_examples_each_whole_and_once(features, batching):
    for batch in training(features, batching).iterate(0, EXAMPLES // BATCH):
        found = held(batch, features)
        assert len(found) == BATCH
        assert all(value == expected(features, number) for number, value in found.items())
    [over_the_border] = training(features, batching).iterate(EXAMPLES // BATCH, EXAMPLES // BATCH + 1)
    assert over_the_border["weights_BP"].sum() == BATCH


def test_an_epoch_has_every_example_once_and_the_next_another_order(features):
    batches = training(features)
    seen = np.concatenate([batches.units(step) for step in range(2 * EXAMPLES // BATCH + 1)])
    first, second = seen[:EXAMPLES].tolist(), seen[EXAMPLES : 2 * EXAMPLES].tolist()
    assert sorted(first) == sorted(second) == list(range(EXAMPLES))
    assert first != second


def test_a_batch_is_a_function_of_its_step(features):
    straight = list(training(features).iterate(0, 9))
    [alone] = training(features).iterate(8, 9)
    assert all(np.array_equal(straight[8][name], alone[name]) for name in alone)


def test_the_parts_of_the_hosts_are_the_batch(features):
    [whole] = training(features, host=Host(multiple=4)).iterate(5, 6)
    parts = [next(training(features, host=Host(i, 2, multiple=4)).iterate(5, 6)) for i in range(2)]
    assert len(whole["tokens_BL"]) % 4 == 0
    for name in whole:
        assert np.array_equal(np.concatenate([part[name] for part in parts]), whole[name]), name


def test_an_evaluation_has_every_example_once_in_batches_of_one_shape(features):
    batches = EvaluationBatches(features, layout_of(features), batch_size=BATCH)
    all_batches = list(batches.iterate(0, batches.count))
    assert len({batch["tokens_BL"].shape for batch in all_batches}) == 1
    found = {number: value for batch in all_batches for number, value in held(batch, features).items()}
    assert found == {number: expected(features, number) for number in range(EXAMPLES)}


def test_packed_rows_have_little_padding(features):
    batches = training(features)
    used = BATCH * features.lengths_S.mean()
    assert used / batches.tokens > 0.75
    padded = training(features, "pad").tokens
    assert batches.tokens < 0.8 * padded


def test_best_fit_keeps_to_the_length_and_the_number():
    lengths = np.array([5, 9, 3, 3, 7, 10, 1])
    rows = best_fit(lengths, length=10, most=2)
    assert sorted(unit for row in rows for unit in row) == list(range(7))
    assert all(lengths[row].sum() <= 10 and len(row) <= 2 for row in rows)
    assert len(rows) == 4  # 10; 9 + 1; 7 + 3; 5 + 3
    assert len(best_fit(np.array([1] * 7), length=10, most=2)) == 4


def test_row_sizes_are_few_and_hold_the_largest():
    assert row_sizes([5, 6, 7, 8, 30], multiple=4) == (8, 32)


def test_features_come_from_the_cache_until_their_key_changes(features, tmp_path):
    made = []

    def make():
        made.append(1)
        return features

    first = cached(tmp_path, {"data": "a"}, make)
    again = cached(tmp_path, {"data": "a"}, make)
    assert made == [1] and first is features
    assert np.array_equal(again.tokens_T, features.tokens_T)
    assert np.array_equal(again.of_sequences["labels_P"], features.of_sequences["labels_P"])
    cached(tmp_path, {"data": "b"}, make)
    assert made == [1, 1]
    for path in tmp_path.glob("*.npz"):
        path.write_bytes(b"PK damaged")
    cached(tmp_path, {"data": "a"}, make)
    assert made == [1, 1, 1]


def test_groups_bring_axes_of_their_own(features):
    rng = np.random.default_rng(1)
    scores_TC = rng.normal(size=(len(features.tokens_T), 3)).astype(np.float16)
    vectors_SD = rng.normal(size=(EXAMPLES, 4)).astype(np.float32)
    wider = dataclasses.replace(
        features,
        of_tokens={"scores_LC": scores_TC},
        of_sequences={**features.of_sequences, "vectors_PD": vectors_SD},
    )
    layout = layout_of(wider)
    assert layout.spec.sizes["C"] == 3 and layout.spec.sizes["D"] == 4
    batch = next(training(wider).iterate(2, 3))
    assert batch["scores_BLC"].dtype == np.float16 and batch["vectors_BPD"].dtype == np.float32
    for row, slot in zip(*np.nonzero(batch["features_BP"] >= 0), strict=True):
        number = batch["features_BP"][row, slot]
        places = batch["pack_ids_BL"][row] == slot + 1
        start = features.starts_S[number]
        own = scores_TC[start : start + features.lengths_S[number]]
        np.testing.assert_array_equal(batch["scores_BLC"][row, places], own)
        np.testing.assert_array_equal(batch["vectors_BPD"][row, slot], vectors_SD[number])
    assert (batch["scores_BLC"][batch["pack_ids_BL"] == 0] == -1).all()
