"""Batches as a pure function of (config, seed, step): equal on every host, from every start, once an epoch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bert_jax.batch import FIELDS, shapes
from bert_jax.config import Config, resolve
from bert_jax.data.pipeline import Batches, Host
from bert_jax.data.prepare import prepare
from bert_jax.data.shards import TokenShards
from bert_jax.errors import ConfigError

WORDS = ["time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school"]


def write_corpus(folder: Path, *, documents: int, seed: int = 0) -> Path:
    """Documents of one to eight short sentences, one a line."""
    rng = np.random.default_rng(seed)
    text = ""
    for _ in range(documents):
        for _ in range(rng.integers(1, 9)):
            text += " ".join(rng.choice(WORDS, rng.integers(2, 9))) + ".\n"
        text += "\n"
    file = folder / "corpus.txt"
    file.write_text(text)
    return file


def config_of(
    folder: Path, objective: str = "nsp", *, seed: int = 0, batch_size: int = 8, length: int = 32, **masking
) -> Config:
    return resolve(
        {
            "seed": seed,
            "data": {
                "source": "files",
                "path": str(folder / "corpus.txt"),
                "directory": str(folder / "prepared"),
                "sentences": "line",
                "sequence_length": length,
                "sentence_objective": objective,
                "eval_fraction": 0.2,
            },
            "tokenizer": {"vocab_size": 120},
            "model": {"preset": "bert-tiny"},
            "masking": masking,
            "train": {"batch_size": batch_size},
        }
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A folder with a prepared corpus, which the tests only read."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, documents=60)
    prepare(config_of(folder))
    return folder


def batches(config: Config, split: str = "train", *, host: Host = Host()) -> Batches:
    shards, _ = prepare(config)
    return Batches(shards, config, split, host=host)


def assert_same(ours, theirs) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def same(ours, theirs, *, but: tuple[str, ...] = ()) -> bool:
    return all((ours[name] == theirs[name]).all() for name in ours if name not in but)


def unmasked(batch) -> np.ndarray:
    """The rows as they were before masking."""
    tokens_BL = batch["tokens_BL"].copy()
    row, slot = np.nonzero(batch["mlm_weights_BM"])
    tokens_BL[row, batch["mlm_positions_BM"][row, slot]] = batch["mlm_targets_BM"][row, slot]
    return tokens_BL


Row = tuple[tuple[int, ...], tuple[int, ...], int]


def rows_of(batch) -> list[Row]:
    """Every row as its tokens, its types and its label (-1: none), padding left out."""
    used_BL = batch["pack_ids_BL"] == 1
    weights, labels = batch["pair_weights_BP"][:, 0], batch["pair_labels_BP"][:, 0]
    return [
        (tuple(tokens[used].tolist()), tuple(types[used].tolist()), int(label) if weight else -1)
        for tokens, types, used, label, weight in zip(
            unmasked(batch), batch["type_ids_BL"], used_BL, labels, weights, strict=True
        )
    ]


def row_by_index(shards: TokenShards, instance: np.void) -> Row:
    """[CLS] A [SEP] B [SEP] by slicing the tokens that the index names."""
    tokens = np.load(shards.folder / "tokens-00000.npy").tolist()
    cls, sep = shards.special.cls, shards.special.sep
    a = tokens[instance["a_start"] : instance["a_start"] + instance["a_length"]]
    b = tokens[instance["b_start"] : instance["b_start"] + instance["b_length"]]
    row, types = [cls, *a, sep], [0] * (len(a) + 2)
    if b:
        row, types = [*row, *b, sep], [*types, *[1] * (len(b) + 1)]
    return tuple(row), tuple(types), int(instance["label"])


def epoch_rows(source: Batches, epoch: int) -> list[Row]:
    """The rows of an epoch in order, also where it begins or ends inside a batch."""
    size, count = source.config.train.batch_size, len(source.index)
    first, last = epoch * count, (epoch + 1) * count
    rows: list[Row] = []
    for batch in source.iterate(first // size, -(-last // size)):
        numbers = batch["example_ids_B"]
        rows += [row for row, n in zip(rows_of(batch), numbers, strict=True) if first <= n < last]
    return rows


# ---------------------------------------------------------------------------------------------
# Pure in (config, seed, step)
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "eval"])
@pytest.mark.parametrize("hosts", [2, 4])
def test_a_batch_is_the_same_on_any_number_of_hosts(corpus, hosts, split):
    config = config_of(corpus)
    alone = batches(config, split)
    start, stop = alone.count - 2, alone.count + (split == "train")  # over the end of an epoch
    parts = [list(batches(config, split, host=Host(i, hosts)).iterate(start, stop)) for i in range(hosts)]
    for whole, *shares in zip(alone.iterate(start, stop), *parts, strict=True):
        assert {len(share["tokens_BL"]) for share in shares} == {8 // hosts}
        together = {name: np.concatenate([share[name] for share in shares]) for name in FIELDS}
        assert_same(together, whole)
        swapped = {name: np.concatenate([share[name] for share in shares[::-1]]) for name in FIELDS}
        assert not same(swapped, whole)


def test_a_step_far_into_the_run_is_the_same_on_two_hosts(corpus):
    config = config_of(corpus)
    whole, *shares = (batches(config, host=host).at(1_000_000) for host in (Host(), Host(0, 2), Host(1, 2)))
    assert_same({name: np.concatenate([share[name] for share in shares]) for name in FIELDS}, whole)


def test_starting_at_a_step_continues_what_an_earlier_start_gives(corpus):
    config = config_of(corpus)
    straight = list(batches(config).iterate(0, 40))
    assert len(straight) == 40
    resumed = list(batches(config).iterate(25, 40))
    for ours, theirs in zip(straight[25:], resumed, strict=True):
        assert_same(ours, theirs)
    assert_same(straight[7], batches(config).at(7))
    assert not same(straight[24], resumed[0])


def test_rows_are_numbered_through_the_run(corpus):
    for step, batch in enumerate(batches(config_of(corpus)).iterate(0, 5)):
        assert batch["example_ids_B"].tolist() == list(range(step * 8, step * 8 + 8))


def test_the_batch_size_changes_only_where_batches_are_cut(corpus):
    """Rows are keyed by their number in the run, so the first 24 are the first 24 at any batch size."""
    small = list(batches(config_of(corpus, batch_size=4)).iterate(0, 6))
    large = list(batches(config_of(corpus, batch_size=12)).iterate(0, 2))
    assert_same(
        {name: np.concatenate([batch[name] for batch in small]) for name in FIELDS},
        {name: np.concatenate([batch[name] for batch in large]) for name in FIELDS},
    )


def test_the_seed_decides_order_and_masks(corpus):
    first, again, other = (batches(config_of(corpus, "none", seed=seed)).at(0) for seed in (1, 1, 2))
    assert_same(first, again)
    assert (unmasked(first)[:, :8] != unmasked(other)[:, :8]).any()
    assert (first["mlm_positions_BM"] != other["mlm_positions_BM"]).any()


def test_another_seed_has_other_masks_on_the_same_row(corpus):
    config, other = (config_of(corpus, "none", seed=seed) for seed in (1, 2))
    masks = [
        dict(
            row
            for b in source.iterate(0, source.count)
            for row in zip(rows_of(b), b["tokens_BL"].tolist(), strict=True)
        )
        for source in (batches(config), batches(other))
    ]
    shared = masks[0].keys() & masks[1].keys()
    assert len(shared) > 20
    assert sum(masks[0][row] != masks[1][row] for row in shared) > 0.9 * len(shared)


# ---------------------------------------------------------------------------------------------
# Epochs
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["none", "nsp", "sop"])
@pytest.mark.parametrize("batch_size", [1, 8, 7])
def test_an_epoch_shows_every_instance_once(corpus, objective, batch_size):
    source = batches(config_of(corpus, objective, batch_size=batch_size))
    expected = sorted(row_by_index(source.shards, instance) for instance in source.index)
    assert len(expected) > 40
    for epoch in (0, 1):
        assert sorted(epoch_rows(source, epoch)) == expected
    assert sorted(epoch_rows(source, 0)[1:]) != expected


def test_the_epochs_tested_above_end_inside_a_batch(corpus):
    counts = {o: len(batches(config_of(corpus, o)).index) for o in ("none", "nsp", "sop")}
    assert any(count % 8 for count in counts.values()), counts


def test_the_next_epoch_has_another_order_and_other_masks(corpus):
    source = batches(config_of(corpus, "none", batch_size=1))
    count = len(source.index)
    first, second = (list(source.iterate(epoch * count, (epoch + 1) * count)) for epoch in (0, 1))
    rows = [[rows_of(batch)[0] for batch in epoch] for epoch in (first, second)]
    assert sorted(rows[0]) == sorted(rows[1])
    assert rows[0] != rows[1]
    assert rows[0] != [row_by_index(source.shards, instance) for instance in source.index]
    shown = [
        dict(zip(seen, (batch["tokens_BL"].tolist() for batch in epoch), strict=True))
        for seen, epoch in zip(rows, (first, second), strict=True)
    ]
    assert sum(shown[0][row] != shown[1][row] for row in shown[0]) > 0.9 * len(shown[0])


@pytest.mark.parametrize("documents", [3, 4, 5])
def test_the_smallest_corpora_show_every_instance_once_too(tmp_path, documents):
    write_corpus(tmp_path, documents=documents)
    source = batches(config_of(tmp_path, "sop", batch_size=2))
    assert len(source.index) < 12
    expected = sorted(row_by_index(source.shards, instance) for instance in source.index)
    for epoch in range(3):
        assert sorted(epoch_rows(source, epoch)) == expected


# ---------------------------------------------------------------------------------------------
# Evaluation
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["none", "nsp", "sop"])
def test_evaluation_is_the_same_for_every_seed(corpus, objective):
    ours, theirs = (batches(config_of(corpus, objective, seed=seed), "eval") for seed in (0, 9))
    assert ours.count == theirs.count > 1
    for one, two in zip(ours.iterate(0, ours.count), theirs.iterate(0, theirs.count), strict=True):
        assert_same(one, two)


@pytest.mark.parametrize("batch_size", [5, 8])
@pytest.mark.parametrize("objective", ["none", "nsp", "sop"])
def test_evaluation_weighs_every_row_once_and_the_filling_not_at_all(corpus, objective, batch_size):
    source = batches(config_of(corpus, objective, batch_size=batch_size), "eval")
    rows: list[Row] = []
    fillers = 0
    for batch in source.iterate(0, source.count):
        present = batch["mlm_weights_BM"].any(axis=1)
        assert (batch["example_ids_B"] < len(source.index)).tolist() == present.tolist()
        rows += [row for row, is_present in zip(rows_of(batch), present, strict=True) if is_present]
        fillers += int((~present).sum())
        assert not batch["pair_weights_BP"][~present].any()
    assert fillers == source.count * batch_size - len(source.index)
    assert sorted(rows) == sorted(row_by_index(source.shards, instance) for instance in source.index)


def test_some_evaluation_tested_above_has_filling(corpus):
    assert any(
        len(batches(config_of(corpus, objective), "eval").index) % size
        for objective in ("none", "nsp", "sop")
        for size in (5, 8)
    )


def test_training_and_evaluation_share_no_row(corpus):
    config = config_of(corpus, "none")
    train, held = (
        {row for batch in source.iterate(0, source.count) for row in rows_of(batch)}
        for source in (batches(config), batches(config, "eval"))
    )
    assert not {row for row, _, _ in train if len(row) > 8} & {row for row, _, _ in held}


# ---------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["none", "nsp", "sop"])
def test_fields_types_and_shapes_are_those_of_the_contract(corpus, objective):
    config = config_of(corpus, objective)
    for split in ("train", "eval"):
        batch = batches(config, split).at(0)
        assert list(batch) == list(FIELDS)
        assert {name: array.dtype for name, array in batch.items()} == FIELDS
        assert {name: array.shape for name, array in batch.items()} == shapes(config, 8)
    half = batches(config, host=Host(1, 2)).at(0)
    assert {name: array.shape for name, array in half.items()} == shapes(config, 4)


@pytest.mark.parametrize("objective", ["none", "nsp", "sop"])
@pytest.mark.parametrize("length", [8, 32])
def test_a_row_is_what_the_index_says_and_padding_is_padding(corpus, objective, length):
    source = batches(config_of(corpus, objective, batch_size=16, length=length))
    known = {row_by_index(source.shards, instance) for instance in source.index}
    special = source.shards.special
    for batch in source.iterate(0, 3):
        assert set(rows_of(batch)) <= known
        used_BL = batch["pack_ids_BL"] == 1
        assert (np.diff(used_BL.astype(int), axis=1) <= 0).all()  # padding is on the right
        assert (batch["tokens_BL"][~used_BL] == special.pad).all()
        assert not batch["type_ids_BL"][~used_BL].any()
        assert (batch["positions_BL"] == np.arange(length)).all()
        assert not batch["first_BP"].any()
        labelled = batch["pair_weights_BP"] == 1
        assert set(np.unique(batch["pair_labels_BP"])) <= {0, 1}
        assert labelled.all() if objective == "nsp" else not labelled.any() or objective == "sop"


def test_a_corrupted_row_is_not_what_the_index_says(corpus):
    source = batches(config_of(corpus))
    known = {row_by_index(source.shards, instance) for instance in source.index}
    batch = source.at(0)
    for name in ("tokens_BL", "type_ids_BL", "pack_ids_BL", "mlm_targets_BM", "pair_labels_BP"):
        wrong = batch | {name: (batch[name] + 1) % (2 if name != "tokens_BL" else 120)}
        assert not set(rows_of(wrong)) <= known, name


@pytest.mark.parametrize("objective", ["none", "nsp", "sop"])
def test_special_tokens_are_never_predicted_and_each_row_has_its_share(corpus, objective):
    config = config_of(corpus, objective, max_predictions=4, mask=1, random=0, keep=0)
    source = batches(config)
    special = source.shards.special
    for batch in source.iterate(0, 5):
        used = batch["mlm_weights_BM"] == 1
        targets = batch["mlm_targets_BM"][used]
        assert not set(targets.tolist()) & {special.cls, special.sep, special.pad}
        lengths = batch["pack_ids_BL"].sum(axis=1)
        share = [min(4, max(1, round(0.15 * int(n)))) for n in lengths]
        assert used.sum(axis=1).tolist() == share
        assert (batch["tokens_BL"] == special.mask).sum(axis=1).tolist() == share


# ---------------------------------------------------------------------------------------------
# Faults
# ---------------------------------------------------------------------------------------------


def test_a_vocabulary_of_another_size_is_named(corpus):
    config = config_of(corpus)
    shards, _ = prepare(config)
    other = dataclasses.replace(config, tokenizer=dataclasses.replace(config.tokenizer, vocab_size=121))
    with pytest.raises(
        ConfigError,
        match=r"^config\.tokenizer\.vocab_size=121 must equal the vocabulary of the corpus at .*: 120$",
    ):
        Batches(shards, other, "train")


def test_hosts_that_do_not_divide_the_batch_are_named(corpus):
    with pytest.raises(ConfigError, match=r"^config\.train\.batch_size=8 must be a multiple of 3 hosts$"):
        batches(config_of(corpus), host=Host(0, 3))
