"""Batches as a pure function of (config, seed, step): equal on every host, from every start, once an epoch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bert_jax.batch import PRETRAINING, pretraining_spec
from bert_jax.config import PretrainConfig, resolve
from bert_jax.data.batches.pipeline import Batches, Host
from bert_jax.data.corpus.prepare import prepare
from bert_jax.data.instances.index import FIRST, SECOND
from bert_jax.data.instances.token_counts import token_counts
from bert_jax.errors import ConfigError
from bert_jax.text import tokenizer

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
    folder: Path,
    objective: str = "nsp",
    *,
    seed: int = 0,
    batch_size: int = 8,
    length: int = 32,
    data: dict | None = None,
    **masking,
) -> PretrainConfig:
    return resolve(
        {
            "seed": seed,
            "data": {
                "path": str(folder / "corpus.txt"),
                "directory": str(folder / "prepared"),
                "sentences": "line",
                "sequence_length": length,
                "sentence_objective": objective,
                "eval_fraction": 0.2,
                **(data or {}),
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


def batches(config: PretrainConfig, split: str = "train", *, host: Host = Host()) -> Batches:
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


Example = tuple[tuple[int, ...], tuple[int, ...], int]
Row = tuple[Example, ...]


def rows_of(batch) -> list[Row]:
    """Every row as its examples: tokens, types and label (-1: none), padding left out."""
    rows = []
    for row, tokens in enumerate(unmasked(batch)):
        packs, types = batch["pack_ids_BL"][row], batch["type_ids_BL"][row]
        weights, labels = batch["pair_weights_BP"][row], batch["pair_labels_BP"][row]
        rows.append(
            tuple(
                (
                    tuple(tokens[packs == p + 1].tolist()),
                    tuple(types[packs == p + 1].tolist()),
                    int(labels[p]) if weights[p] else -1,
                )
                for p in range(packs.max())
            )
        )
    return rows


def row_by_index(source: Batches, number: int) -> Row:
    """The examples of a row by slicing the tokens that the index names."""
    tokens = np.load(source.shards.folder / "tokens-00000.npy").tolist()
    special, index = source.shards.special, source.index
    examples: list[tuple[list[int], list[int], int]] = []
    for segment in index.segments[index.rows[number] : index.rows[number + 1]]:
        if segment["role"] == FIRST:
            examples.append(([special.cls], [0], int(segment["label"])))
        run = [*tokens[segment["start"] : segment["start"] + segment["length"]], special.sep]
        examples[-1][0].extend(run)
        examples[-1][1].extend([int(segment["role"] == SECOND)] * len(run))
    return tuple((tuple(row), tuple(types), label) for row, types, label in examples)


def rows_by_index(source: Batches) -> list[Row]:
    return [row_by_index(source, number) for number in range(len(source.index))]


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
        together = {name: np.concatenate([share[name] for share in shares]) for name in PRETRAINING}
        assert_same(together, whole)
        swapped = {name: np.concatenate([share[name] for share in shares[::-1]]) for name in PRETRAINING}
        assert not same(swapped, whole)


def test_a_step_far_into_the_run_is_the_same_on_two_hosts(corpus):
    config = config_of(corpus)
    whole, *shares = (batches(config, host=host).at(1_000_000) for host in (Host(), Host(0, 2), Host(1, 2)))
    assert_same({name: np.concatenate([share[name] for share in shares]) for name in PRETRAINING}, whole)


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
        {name: np.concatenate([batch[name] for batch in small]) for name in PRETRAINING},
        {name: np.concatenate([batch[name] for batch in large]) for name in PRETRAINING},
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
    expected = sorted(rows_by_index(source))
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
    assert rows[0] != rows_by_index(source)
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
    expected = sorted(rows_by_index(source))
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
    assert sorted(rows) == sorted(rows_by_index(source))


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
    assert not {row for row in train if len(row[0][0]) > 8} & held


# ---------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["none", "nsp", "sop"])
def test_fields_types_and_shapes_are_those_of_the_contract(corpus, objective):
    config = config_of(corpus, objective)
    for split in ("train", "eval"):
        batch = batches(config, split).at(0)
        assert list(batch) == list(PRETRAINING)
        assert {name: array.dtype for name, array in batch.items()} == PRETRAINING
        assert {name: array.shape for name, array in batch.items()} == pretraining_spec(config).shapes(8)
    half = batches(config, host=Host(1, 2)).at(0)
    assert {name: array.shape for name, array in half.items()} == pretraining_spec(config).shapes(4)


@pytest.mark.parametrize("objective", ["none", "nsp", "sop"])
@pytest.mark.parametrize("length", [8, 32])
def test_a_row_is_what_the_index_says_and_padding_is_padding(corpus, objective, length):
    source = batches(config_of(corpus, objective, batch_size=16, length=length))
    known = set(rows_by_index(source))
    special = source.shards.special
    for batch in source.iterate(0, 3):
        assert set(rows_of(batch)) <= known
        used_BL = batch["pack_ids_BL"] == 1
        assert (np.diff(used_BL.astype(int), axis=1) <= 0).all()  # padding is on the right
        assert (batch["tokens_BL"][~used_BL] == special.pad).all()
        assert not batch["type_ids_BL"][~used_BL].any()
        assert (batch["positions_BL"] == np.arange(length)).all()
        assert not batch["first_BP"].any()
        labelled_B = batch["pair_weights_BP"][:, 0] == 1
        assert set(np.unique(batch["pair_labels_BP"])) <= {0, 1}
        has_pair_B = batch["type_ids_BL"].any(axis=1)
        assert (labelled_B == (has_pair_B if objective != "none" else False)).all()


def test_a_corrupted_row_is_not_what_the_index_says(corpus):
    source = batches(config_of(corpus))
    known = set(rows_by_index(source))
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
# Every format, unit and mode
# ---------------------------------------------------------------------------------------------

FORMATS = [
    *(("segment_pair", objective) for objective in ("none", "nsp", "sop")),
    *(("sentence_pair", objective) for objective in ("none", "nsp", "sop")),
    ("full_sentences", "none"),
    ("doc_sentences", "none"),
]
UNITS = ["token", "whole_word", "ngram", "span"]


@pytest.mark.parametrize("packing", [1, 5])
@pytest.mark.parametrize(("format_", "objective"), FORMATS)
def test_rows_of_every_format_and_unit_are_what_the_index_says(corpus, format_, objective, packing):
    for unit in UNITS:
        config = config_of(
            corpus, objective, length=48, data={"format": format_, "packing": packing}, unit=unit
        )
        source = batches(config)
        batch = source.at(3)
        assert {name: array.shape for name, array in batch.items()} == pretraining_spec(config).shapes(8)
        rows = rows_of(batch)
        assert set(rows) <= set(rows_by_index(source))
        used_BL = batch["pack_ids_BL"] > 0
        for row, positions_L in zip(rows, batch["positions_BL"], strict=True):
            counted = [i for tokens, _, _ in row for i in range(len(tokens))]
            assert positions_L[: len(counted)].tolist() == counted
        first = [np.cumsum([0, *(len(tokens) for tokens, _, _ in row)])[:-1].tolist() for row in rows]
        assert batch["first_BP"].tolist() == [each + [0] * (packing - len(each)) for each in first]
        # Never more predictions than asked, never a special token, nothing else changed.
        special = source.shards.special
        used_BM = batch["mlm_weights_BM"] > 0
        assert not set(batch["mlm_targets_BM"][used_BM].tolist()) & {special.cls, special.sep, special.pad}
        most = [min(8, max(1, round(0.15 * int(n)))) for n in used_BL.sum(axis=1)]
        counts = used_BM.sum(axis=1)
        assert (counts == most).all() if unit in ("token", "whole_word") else (counts > 0).all()
        assert (counts <= most).all()


def test_some_rows_tested_above_hold_several_examples(corpus):
    source = batches(config_of(corpus, "sop", length=48, data={"packing": 5}))
    assert any(len(row) > 2 for row in rows_by_index(source))
    assert (source.at(0)["pack_ids_BL"].max(axis=1) > 1).any()


@pytest.mark.parametrize("mode", ["dynamic", "static"])
@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_and_mode_is_the_same_on_any_number_of_hosts(corpus, unit, mode):
    config = config_of(corpus, "sop", length=48, data={"packing": 4}, unit=unit, mode=mode)
    for step in (5, 10**6):
        whole = batches(config).at(step)
        for count in (2, 4):
            shares = [batches(config, host=Host(i, count)).at(step) for i in range(count)]
            together = {name: np.concatenate([share[name] for share in shares]) for name in PRETRAINING}
            assert_same(together, whole)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_rare_tokens_are_predicted_more_often(corpus, split):
    """The most frequent token less often, in as many predictions a row, on any number of hosts."""
    plain, rare = (
        batches(config_of(corpus, "none", batch_size=64, length=64, rarity=rarity), split)
        for rarity in (0.0, 1.0)
    )
    most = token_counts(rare.shards, rare.config.data.eval_fraction).argmax()
    shares = []
    for source in (plain, rare):
        targets = []
        for step in range(8):
            batch = source.at(step)
            targets.append(batch["mlm_targets_BM"][batch["mlm_weights_BM"] > 0])
            np.testing.assert_array_equal(batch["mlm_weights_BM"], plain.at(step)["mlm_weights_BM"])
            np.testing.assert_array_equal(unmasked(batch), unmasked(plain.at(step)))
        shares.append((np.concatenate(targets) == most).mean())
    assert 0 < shares[1] < 0.6 * shares[0]
    whole = rare.at(3)
    parts = [batches(rare.config, split, host=Host(i, 2)).at(3) for i in range(2)]
    assert_same({name: np.concatenate([part[name] for part in parts]) for name in PRETRAINING}, whole)


def masks_of_epochs(source: Batches, epochs: int) -> list[dict[Row, tuple]]:
    """For each epoch, row -> its tokens as they are shown and where it is predicted. Batches of one."""
    count = len(source.index)
    masks: list[dict[Row, tuple]] = [{} for _ in range(epochs)]
    for step, batch in enumerate(source.iterate(0, count * epochs)):
        shown = tuple(batch["tokens_BL"][0].tolist()), tuple(batch["mlm_positions_BM"][0].tolist())
        masks[step // count][rows_of(batch)[0]] = shown
    return masks


@pytest.mark.parametrize("unit", ["token", "ngram"])
def test_static_masks_are_a_few_taken_in_turn(corpus, unit):
    # As short as possible: rows must differ, or one would overwrite the other.
    source = batches(config_of(corpus, "none", batch_size=1, unit=unit, mode="static", copies=3, rate=0.3))
    masks = masks_of_epochs(source, 7)
    for row in masks[0]:
        turns = [epoch[row] for epoch in masks]
        assert turns[3:] == turns[:4]
    distinct = [len({epoch[row] for epoch in masks}) for row in masks[0]]
    assert max(distinct) == 3 and np.mean(distinct) > 2.9  # two masks of a short row may agree


def test_dynamic_masks_do_not_come_again(corpus):
    source = batches(config_of(corpus, "none", batch_size=1, mode="dynamic", copies=1, rate=0.3))
    masks = masks_of_epochs(source, 3)
    distinct = [len({epoch[row] for epoch in masks}) for row in masks[0]]
    assert np.mean(distinct) > 2.9


def test_a_static_mask_does_not_depend_on_the_order(corpus):
    """It is keyed by the instance: the row before it in another epoch is another one."""
    source = batches(config_of(corpus, "none", batch_size=1, mode="static", copies=1))
    first, second = masks_of_epochs(source, 2)
    assert first == second
    assert list(first) != list(second)


def test_evaluation_has_the_same_masks_static_or_not(corpus):
    ours, theirs = (
        batches(config_of(corpus, "sop", mode=mode), "eval").at(0) for mode in ("static", "dynamic")
    )
    assert_same(ours, theirs)


def test_random_entries_are_ordinary_ones_if_asked(corpus):
    drawn = {}
    for origin in ("ordinary", "vocabulary"):
        config = config_of(corpus, batch_size=64, random_from=origin, mask=0, random=1, keep=0)
        source = batches(config)
        entries = set()
        for batch in source.iterate(0, 60):
            row, slot = np.nonzero(batch["mlm_weights_BM"])
            entries |= set(batch["tokens_BL"][row, batch["mlm_positions_BM"][row, slot]].tolist())
        drawn[origin] = entries
    special = set(dataclasses.astuple(source.shards.special))
    assert drawn["vocabulary"] == set(range(120))
    assert drawn["ordinary"].isdisjoint(special)
    ordinary = tokenizer.load(source.shards.folder / "tokenizer.json").ordinary_ids()
    assert drawn["ordinary"] == set(ordinary.tolist())


def test_a_new_start_traces_nothing(corpus, monkeypatch):
    """What makes seeking slow is TensorFlow's tracing: once for all starts, and they do not disturb each other."""
    traced = []
    original = Batches._batches
    monkeypatch.setattr(Batches, "_batches", lambda self, step: traced.append(step) or original(self, step))
    source = batches(config_of(corpus))
    early, late = source.iterate(0, 3), source.iterate(10**6, 10**6 + 3)
    interleaved = [batch for pair in zip(early, late, strict=True) for batch in pair]
    assert len(traced) == 1
    steps = [0, 10**6, 1, 10**6 + 1, 2, 10**6 + 2]
    assert [int(batch["example_ids_B"][0]) for batch in interleaved] == [8 * step for step in steps]
    for step, batch in zip(steps, interleaved, strict=True):
        assert_same(batch, source.at(step))


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
