"""Instance indexes: every objective and format against the oracle, and the balances the papers promise."""

from __future__ import annotations

import itertools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.config import DataConfig
from bert_jax.data.instances import documents
from bert_jax.data.instances.index import FIRST, NEXT, SECOND, split_documents
from bert_jax.errors import UserError
from tests.data.corpora import Corpus, examples_of, random_lengths, slots_of
from tests.data.instances.oracle_instances import Oracle, best_fit, slots

PAIRS = ("segment_pair", "sentence_pair")
SINGLES = ("full_sentences", "doc_sentences")
QUIRKS = [
    tuple(itertools.compress(("short_per_document", "lone_is_random", "ten_draws"), chosen))
    for chosen in itertools.product((0, 1), repeat=3)
]
KINDS = [
    *itertools.product(("none", "nsp", "sop"), ("segment_pair",), ("cut", "whole"), QUIRKS),
    *itertools.product(("none", "nsp", "sop"), ("sentence_pair",), ("cut",), QUIRKS),
    *itertools.product(("none",), SINGLES, ("cut",), [(), ("short_per_document",)]),
]
"""Every combination of objective, format, boundaries and quirks."""
BY_FORMAT = [[kind for kind in KINDS if kind[1] == format_] for format_ in (*PAIRS, *SINGLES)]


def data_of(kind=("none", "segment_pair", "cut", ()), *, length: int = 24, **options) -> DataConfig:
    objective, format_, boundaries, quirks = kind
    return DataConfig(
        sentence_objective=objective,
        format=format_,
        boundaries=boundaries,
        quirks=quirks,
        sequence_length=length,
        **{"eval_fraction": 0.0, "short_sequence_probability": 0.0} | options,
    )


def assert_equals_the_oracle(corpus: Corpus, data: DataConfig, split="train", *, seed: int = 0) -> None:
    chosen = split_documents(len(corpus.lengths), data.eval_fraction, split).tolist()
    weights = None
    if data.weights and split == "train":
        weights = np.repeat(data.weights, corpus.sources).tolist()
    oracle = Oracle(corpus.lengths, chosen, data, seed if split == "train" else 20181011, weights)
    expected = oracle.examples()
    rows = examples_of(corpus.index(data, split, seed=seed))
    if data.packing == 1:
        assert rows == [[example] for example in expected]
        return
    assert sorted(example for row in rows for example in row) == sorted(expected)
    lengths = sorted(map(slots, expected), reverse=True)
    packs = best_fit(lengths, data.sequence_length, data.packing)
    assert sorted(list(map(slots, row)) for row in rows) == sorted(
        [lengths[n] for n in pack] for pack in packs
    )


# ---------------------------------------------------------------------------------------------
# Ours = the oracle
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "short", "packing"), [(24, 0.1, 1), (60, 0.5, 1), (12, 0.0, 3), (8, 1.0, 1)]
)
def test_every_kind_of_index_equals_the_oracle(tmp_path, length, short, packing):
    few = BY_FORMAT[2] + BY_FORMAT[3]  # as many of them as of the others
    for seed, kind in enumerate(KINDS + few * 10):
        corpus = Corpus(tmp_path / str(seed), random_lengths(seed, documents=8), sources=[3, 5])
        corpus.folder.mkdir()
        weights = [(), (1.5, 0.7), (2.0, 1.0)][seed % 3]
        options = {"short_sequence_probability": short, "packing": packing, "weights": weights}
        assert_equals_the_oracle(corpus, data_of(kind, length=length, **options), seed=seed)


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(BY_FORMAT).flatmap(st.sampled_from),
    lengths=st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=8), min_size=2, max_size=8),
    length=st.integers(8, 40),
    short=st.sampled_from([0.0, 0.3, 1.0]),
    packing=st.integers(1, 4),
    seed=st.integers(0, 2**31 - 1),
    group=st.sampled_from([1, 9, 2**18]),
    window=st.sampled_from([1, 4, 2**15]),
)
def test_any_corpus_equals_the_oracle_whatever_is_built_at_once(
    tmp_path_factory, kind, lengths, length, short, packing, seed, group, window
):
    corpus = Corpus(tmp_path_factory.mktemp("corpus"), lengths)
    data = data_of(kind, length=length, short_sequence_probability=short, packing=packing)
    with mock.patch.multiple(documents, _GROUP=group, _WINDOW=window):
        assert_equals_the_oracle(corpus, data, seed=seed)
        assert slots_of(corpus.index(data, seed=seed)).max() <= length


@pytest.mark.parametrize("split", ["train", "eval"])
@pytest.mark.parametrize("kind", [("nsp", "segment_pair", "cut", ()), ("none", "full_sentences", "cut", ())])
def test_a_split_is_indexed_as_if_its_documents_were_the_corpus(tmp_path, kind, split):
    corpus = Corpus(tmp_path, random_lengths(1, documents=30), sources=[20, 10])
    data = data_of(kind, eval_fraction=0.3, weights=(0.5, 2.0))
    assert_equals_the_oracle(corpus, data, split, seed=5)


def test_that_comparison_sees_another_seed_length_share_or_order(tmp_path):
    corpus = Corpus(tmp_path, random_lengths(2, documents=25))
    data = data_of(("nsp", "segment_pair", "cut", ()), short_sequence_probability=0.5)
    ours = [row[0] for row in examples_of(corpus.index(data, seed=3))]

    def oracle(lengths=corpus.lengths, seed=3, **changes):
        changed = data_of(("nsp", "segment_pair", "cut", ()), **{"short_sequence_probability": 0.5} | changes)
        return Oracle(lengths, list(range(25)), changed, seed).examples()

    assert ours == oracle()
    assert ours != oracle(seed=4)
    assert ours != oracle(length=25)
    assert ours != oracle(short_sequence_probability=0.4)
    assert ours != oracle([*corpus.lengths[1:], corpus.lengths[0]])


# ---------------------------------------------------------------------------------------------
# What the formats promise
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", SINGLES)
@pytest.mark.parametrize("short", [0.0, 0.5])
def test_whole_sentence_formats_hold_every_token_once_in_order(tmp_path, format_, short):
    corpus = Corpus(tmp_path, [*random_lengths(3, documents=40), [500], [1], [22, 23, 1]])
    data = data_of(("none", format_, "cut", ()), short_sequence_probability=short)
    index = corpus.index(data)
    tokens = [token for (row,) in examples_of(index) for ids, _, _ in row for token in ids]
    assert tokens == list(range(int(corpus.sentence_starts[-1])))
    assert (index.segments["label"] == -1).all()
    assert (NEXT in index.segments["role"]) is (format_ == "full_sentences")
    assert SECOND not in index.segments["role"]


def test_full_sentences_pay_one_slot_between_documents_and_fill_the_row(tmp_path):
    corpus = Corpus(tmp_path, [[10], [11], [22], [23], [1]])
    data = data_of(("none", "full_sentences", "cut", ()), length=24)
    rows = [[(len(ids), role) for ids, role, _ in row] for (row,) in examples_of(corpus.index(data))]
    # 10 + [SEP] + 11 are the 22 that fit; 23 is cut in 22 and 1, and [SEP] stands before the next document
    assert rows == [[(10, FIRST), (11, NEXT)], [(22, FIRST)], [(22, FIRST)], [(1, FIRST), (1, NEXT)]]


def test_sentence_pairs_are_neighbours_two_by_two(tmp_path):
    corpus = Corpus(tmp_path, [[3, 4, 5, 6, 7]])
    rows = examples_of(corpus.index(data_of(("none", "sentence_pair", "cut", ()))))
    assert [[len(ids) for ids, _, _ in row] for (row,) in rows] == [[3, 4], [5, 6], [7]]


def test_whole_boundaries_cut_nothing_that_fits(tmp_path):
    corpus = Corpus(tmp_path, random_lengths(4, documents=60, longest=10))
    for objective in ("none", "sop"):
        data = data_of((objective, "segment_pair", "whole", ()), short_sequence_probability=0.3)
        seen = [t for (row,) in examples_of(corpus.index(data)) for ids, _, _ in row for t in ids]
        assert sorted(seen) == list(range(int(corpus.sentence_starts[-1])))


def test_a_last_single_sentence_has_no_pair_and_no_label(tmp_path):
    corpus = Corpus(tmp_path, [[5], [9], [30]])
    for kind in KINDS:
        rows = examples_of(corpus.index(data_of(kind, length=64)))
        lone_is_random = "lone_is_random" in kind[3] and kind[0] != "none"
        if kind[1] == "full_sentences":
            continue
        for (row,) in rows:
            assert [role for _, role, _ in row] == ([FIRST, SECOND] if lone_is_random else [FIRST])
            assert row[0][2] == (1 if lone_is_random else -1)


# ---------------------------------------------------------------------------------------------
# Balance
# ---------------------------------------------------------------------------------------------


def firsts(index) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(label, length of A, length of B) of the examples with two segments."""
    second = np.flatnonzero(index.segments["role"] == SECOND)
    a, b = index.segments[second - 1], index.segments[second]
    return a["label"], a["length"].astype(int), b["length"].astype(int)


def lognormal(seed: int, documents: int) -> list[list[int]]:
    """Sentences as long as those of prose."""
    lengths = np.maximum(1, np.random.default_rng(seed).lognormal(3, 0.6, (documents, 40))).astype(int)
    return lengths.tolist()


@pytest.mark.parametrize("format_", PAIRS)
@pytest.mark.parametrize("boundaries", ["cut", "whole"])
def test_nsp_takes_b_from_another_document_half_the_time(tmp_path, format_, boundaries):
    corpus = Corpus(tmp_path, random_lengths(11, documents=4000, sentences=20, longest=12))
    index = corpus.index(data_of(("nsp", format_, boundaries, ()), length=32))
    label, *_ = firsts(index)
    assert len(label) > 10_000
    assert abs(label.sum() - len(label) / 2) < 4 * (len(label) / 4) ** 0.5
    second = np.flatnonzero(index.segments["role"] == SECOND)
    a, b = (corpus.document_of()[index.segments["start"][place]] for place in (second - 1, second))
    assert ((a != b) == (label == 1)).all()
    assert (index.segments["label"][index.segments["role"] == FIRST] == -1).sum() > 0


def test_lone_is_random_makes_more_than_half_of_the_pairs_random(tmp_path):
    corpus = Corpus(tmp_path, random_lengths(11, documents=4000, sentences=20, longest=12))
    label, *_ = firsts(corpus.index(data_of(("nsp", "segment_pair", "cut", ("lone_is_random",)), length=32)))
    assert label.sum() - len(label) / 2 > 10 * (len(label) / 4) ** 0.5


def test_other_documents_are_drawn_as_often_as_they_are_visited(tmp_path):
    """Three documents of 1, 2 and 3 visits: from the second, the third is drawn 3 times in 4."""
    corpus = Corpus(tmp_path, [[5], [1] * 9000, [6]], sources=[1, 1, 1])
    data = data_of(("nsp", "sentence_pair", "cut", ()), weights=(1.0, 2.0, 3.0))
    drawn = np.concatenate([corpus.index(data, seed=seed).segments for seed in range(2)])
    lengths = drawn["length"][drawn["role"] == SECOND]
    count = (lengths > 1).sum()
    assert count > 8000
    assert abs((lengths == 6).sum() - count * 3 / 4) < 4 * (count * 3 / 16) ** 0.5


def test_ten_draws_may_end_at_the_same_document(tmp_path):
    corpus = Corpus(tmp_path, [[1] * 40_000, [5]], sources=[1, 1])
    data = data_of(("nsp", "sentence_pair", "cut", ("ten_draws",)), weights=(9.0, 1.0))
    label, _, b = firsts(corpus.index(data))
    same = ((b == 1) & (label == 1)).sum()
    expected, share = (label == 1).sum(), 0.9**10
    assert abs(same - expected * share) < 4 * (expected * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("length", [64, 128])
def test_sop_labels_are_balanced_and_whole_sentences_do_not_tell_them(tmp_path, length):
    corpus = Corpus(tmp_path, lognormal(1, 4000))

    def correlation(boundaries: str) -> tuple[float, float]:
        data = data_of(("sop", "segment_pair", boundaries, ()), length=length)
        label, a, b = firsts(corpus.index(data))
        assert abs(label.sum() - len(label) / 2) < 4 * (len(label) / 4) ** 0.5
        return float(np.corrcoef(a - b, label)[0, 1]), 4 / len(label) ** 0.5

    found, bound = correlation("whole")
    assert abs(found) < bound
    found, bound = correlation("cut")  # as in ALBERT's code, where it does
    assert abs(found) > bound


def test_the_first_of_two_equals_is_the_longer_after_the_cut_whichever_it_was(tmp_path):
    corpus = Corpus(tmp_path, [[40, 40]] * 2000)
    label, a, b = firsts(corpus.index(data_of(("sop", "segment_pair", "cut", ()), length=64)))
    assert set(zip(a.tolist(), b.tolist(), strict=True)) == {(31, 30)}
    assert abs(label.sum() - 1000) < 4 * (2000 / 4) ** 0.5


def test_cuts_take_front_and_back_alike(tmp_path):
    corpus = Corpus(tmp_path, [[40, 40]] * 2000)
    index = corpus.index(data_of(("sop", "segment_pair", "cut", ()), length=63))
    front = index.segments["start"] % 40  # tokens dropped before a segment
    assert abs(front.sum() - 2000 * 10) < 4 * (2000 * 20 / 4) ** 0.5  # 20 coins an example


@pytest.mark.parametrize(("quirks", "rate"), [((), 1.0), (("short_per_document",), 0.0)])
def test_short_examples_are_as_many_as_asked_and_drawn_alone_or_by_document(tmp_path, quirks, rate):
    corpus = Corpus(tmp_path, [[1] * 122] * 4000)
    data = data_of(("none", "doc_sentences", "cut", quirks), length=63, short_sequence_probability=0.3)
    segments = corpus.index(data).segments
    document = segments["start"] // 122
    opens = np.flatnonzero(np.diff(document, prepend=-1))
    full = segments["length"][opens] == 61
    share = 0.7 + 0.3 / 60  # a short length may be 61 too
    assert abs(full.sum() - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5
    second_full = (segments["length"][opens[full] + 1] == 61).mean()
    assert second_full == pytest.approx(share if rate else 1.0, abs=0.04)


# ---------------------------------------------------------------------------------------------
# Weights
# ---------------------------------------------------------------------------------------------


def test_weights_say_how_often_each_source_is_read(tmp_path):
    corpus = Corpus(tmp_path, [[3]] * 6000, sources=[2000, 2000, 2000])
    data = data_of(("none", "doc_sentences", "cut", ()), weights=(2.0, 0.25, 1.6))
    visits = np.bincount(corpus.index(data).segments["start"] // 3, minlength=6000).reshape(3, 2000)
    assert (visits[0] == 2).all()
    assert set(visits[1].tolist()) == {0, 1} and abs(visits[1].sum() - 500) < 4 * (2000 * 3 / 16) ** 0.5
    assert set(visits[2].tolist()) == {1, 2} and abs(visits[2].sum() - 3200) < 4 * (2000 * 0.24) ** 0.5
    starts = corpus.index(data).segments["start"]
    assert (np.diff(starts) < 0).sum() == 1  # once through all, then once through those that come twice


def test_each_visit_of_a_document_has_draws_of_its_own(tmp_path):
    corpus = Corpus(tmp_path, [[4] * 30] * 2)
    rows = examples_of(corpus.index(data_of(("sop", "segment_pair", "cut", ()), weights=(2.0,))))
    assert len(rows) % 2 == 0
    assert rows[: len(rows) // 2] != rows[len(rows) // 2 :]


def test_held_out_documents_are_read_once_whatever_their_weight(tmp_path):
    corpus = Corpus(tmp_path, [[3]] * 40, sources=[20, 20])
    data = data_of(("none", "doc_sentences", "cut", ()), weights=(3.0, 0.1), eval_fraction=0.5)
    starts = corpus.index(data, "eval").segments["start"]
    assert (starts // 3).tolist() == split_documents(40, 0.5, "eval").tolist()


# ---------------------------------------------------------------------------------------------
# The held-out split
# ---------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 3000), fraction=st.floats(0.0001, 0.5))
def test_the_splits_share_no_document_and_miss_none(count, fraction):
    train, held_out = (split_documents(count, fraction, split).tolist() for split in ("train", "eval"))
    assert sorted(train + held_out) == list(range(count))
    assert train == sorted(train) and held_out == sorted(held_out)
    assert len(held_out) == max(2, round(count * fraction))


def test_a_fraction_of_zero_holds_nothing_out():
    assert split_documents(10, 0.0, "eval").tolist() == []
    assert split_documents(10, 0.0, "train").tolist() == list(range(10))


def test_the_held_out_documents_are_spread_over_the_corpus():
    held_out = split_documents(10_000, 0.1, "eval")
    assert abs(held_out.mean() - 4999.5) < 4 * (10_000**2 / 12 / 1000) ** 0.5
    assert held_out.tolist() != list(range(1000))


def test_every_seed_and_kind_evaluates_on_the_same_documents(tmp_path):
    corpus = Corpus(tmp_path, random_lengths(3, documents=40))
    document_of, seen = corpus.document_of(), set()
    for kind in [("none", "full_sentences", "cut", ()), ("nsp", "segment_pair", "cut", ())]:
        for seed in (0, 1):
            starts = corpus.index(data_of(kind, eval_fraction=0.1), "eval", seed=seed).segments["start"]
            seen.add(frozenset(document_of[starts].tolist()))
    assert seen == {frozenset(split_documents(40, 0.1, "eval").tolist())}


# ---------------------------------------------------------------------------------------------
# Too little text
# ---------------------------------------------------------------------------------------------


def test_one_document_is_too_few_where_b_comes_from_another(tmp_path):
    corpus = Corpus(tmp_path, [[5, 6, 7]])
    for objective, quirks in (("nsp", ()), ("sop", ("lone_is_random",))):
        with pytest.raises(
            UserError,
            match=r"^the train split has 1 of the corpus's 1 documents,"
            rf" config\.data\.sentence_objective='{objective}' needs >= 2:"
            r" add documents .* config\.data\.eval_fraction=0\.0$",
        ):
            corpus.index(data_of((objective, "segment_pair", "cut", quirks)))
    for objective in ("none", "sop"):
        assert len(corpus.index(data_of((objective, "segment_pair", "cut", ())))) >= 1


@pytest.mark.parametrize("objective", ["none", "nsp", "sop"])
def test_a_corpus_that_is_all_held_out_cannot_train(tmp_path, objective):
    corpus = Corpus(tmp_path, [[5, 6], [7]])
    with pytest.raises(
        UserError, match=r"^the train split has 0 of the corpus's 2 documents, .* needs >= [12]:"
    ):
        corpus.index(data_of((objective, "segment_pair", "cut", ()), eval_fraction=0.02))


def test_nothing_held_out_cannot_be_evaluated(tmp_path):
    with pytest.raises(UserError, match=r"^the eval split has 0 of the corpus's 2 documents"):
        Corpus(tmp_path, [[5, 6], [7]]).index(data_of(), "eval")


def test_weights_that_leave_no_document_are_an_error(tmp_path):
    corpus = Corpus(tmp_path, [[5, 6]] * 3)
    with pytest.raises(
        UserError,
        match=r"^config\.data\.weights=\(1e-06,\) read 0 of the train split's 3 documents, .*>= 1: ",
    ):
        corpus.index(data_of(weights=(1e-6,)))
    with pytest.raises(UserError, match=r"must be one for each of the 1 sources of the corpus at "):
        corpus.index(data_of(weights=(1.0, 2.0)))
