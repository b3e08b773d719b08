"""Words as tokens and windows: as transformers has them, and each word scored once, where most context is."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.labelled.examples import TaggedExample
from bert_jax.data.labelled.words import cut_windows, word_features, word_rows
from bert_jax.text.words import cut_words
from tests.data.labelled.faults import assert_fault
from tests.text.samples import HARD, KINDS, trained

SENTENCES = [text.split() for text in HARD] + [["a b", " x", "</s>", "<mask>", "[SEP]", "\x07", "\u0301"]]


@pytest.mark.parametrize("kind", KINDS)
def test_words_have_the_tokens_of_transformers_between_its_frame(kind, tmp_path):
    transformers = pytest.importorskip("transformers", reason="the reference is transformers itself")
    ours = trained(400, kind=kind, lowercase=False)
    ours.save(tmp_path)
    if kind == "bpe":
        theirs = transformers.RobertaTokenizerFast.from_pretrained(tmp_path, add_prefix_space=True)
    else:
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    before, after = ours.frame
    found = theirs(SENTENCES, is_split_into_words=True)
    for number, (words, ids) in enumerate(zip(SENTENCES, ours.encode_words(SENTENCES), strict=True)):
        expected = [[] for _ in words]
        for token, word in zip(found["input_ids"][number], found.word_ids(number), strict=True):
            if word is not None:
                expected[word].append(token)
        assert ids == [tokens or [ours.special.unk] for tokens in expected]
        assert found["input_ids"][number][: len(before)] == before
        assert found["input_ids"][number][-len(after) :] == after


def test_a_word_without_tokens_is_unknown():
    vocabulary = trained()
    unknown = [vocabulary.special.unk]
    assert vocabulary.encode_words([["the", "\x07", ""], []]) == [
        [vocabulary.encode("the"), unknown, unknown], []
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_words_apart_are_the_text_where_each_begins_as_in_one(kind):
    vocabulary = trained(400, kind=kind)
    words = ["the", "lazy", "dog", "jumped", "over"]
    [found] = vocabulary.encode_words([words])
    text = " ".join(words) if kind != "bpe" else " " + " ".join(words)
    assert list(chain.from_iterable(found)) == vocabulary.encode(text)


def test_text_is_cut_as_by_the_basic_tokenizer():
    text = "Don't go\tto  北京,\u200b x\x00y!"
    cut = [text[start:end] for start, end in cut_words(text)]
    assert cut == ["Don", "'", "t", "go", "to", "北", "京", ",", "x\x00y", "!"]
    assert cut_words(" \n") == []


# ---------------------------------------------------------------------------------------------
# Windows
# ---------------------------------------------------------------------------------------------


def plain_windows(sizes, room, overlap):
    """Spans by a walk over the words, and the window that each word belongs to."""
    spans, start = [], 0
    while True:
        stop, tokens = start, 0
        while stop < len(sizes) and tokens + sizes[stop] <= room:
            tokens += sizes[stop]
            stop += 1
        spans.append((start, stop))
        if stop == len(sizes):
            break
        start += 1
        while sum(sizes[start:stop]) > overlap or sum(sizes[start : stop + 1]) > room:
            start += 1

    def context(span, word):
        return min(sum(sizes[span[0] : word]), sum(sizes[word + 1 : span[1]]))

    owners = []
    for word in range(len(sizes)):
        held = [number for number, (first, last) in enumerate(spans) if first <= word < last]
        owners.append(max(held, key=lambda number: (context(spans[number], word), -number)))
    return spans, owners


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=60),
    st.integers(6, 30),
    st.integers(0, 29),
)
@settings(deadline=None, max_examples=300)
def test_windows_and_their_words_are_those_of_a_plain_walk(sizes, room, overlap):
    windows = cut_windows(sizes, room=room, overlap=overlap)
    spans, owners = plain_windows(sizes, room, overlap)
    assert [(w.start, w.stop) for w in windows] == [spans[n] for n in sorted(set(owners))]
    of_words = [(w.start, w.stop) for w in windows for _ in range(w.first, w.last)]
    assert of_words == [spans[owner] for owner in owners]
    assert [word for w in windows for word in range(w.first, w.last)] == list(range(len(sizes)))
    for window in windows:
        assert window.start <= window.first < window.last <= window.stop
        assert sum(sizes[window.start : window.stop]) <= room


def test_windows_by_hand():
    """Ten words of one token, windows of six that share four: each word where most stands on its shorter side."""
    windows = cut_windows([1] * 10, room=6, overlap=4)
    assert windows == [(0, 6, 0, 4), (2, 8, 4, 6), (4, 10, 6, 10)]
    assert cut_windows([1] * 6, room=6, overlap=2) == [(0, 6, 0, 6)]
    assert cut_windows([], room=6, overlap=2) == []


def tagged(words, tags, place="x:1"):
    return TaggedExample(tuple(words), tuple(tags), place)


def test_features_by_hand():
    vocabulary = trained()  # [CLS] 2, [SEP] 3
    examples = [tagged(["the", "foxdog", "fox"], "ABA"), tagged(["dog"], "B")]
    found = word_features(examples, vocabulary, labels=("A", "B"), max_length=16, stride=0)
    [the], [fox], [dog], long = map(vocabulary.encode, ("the", "fox", "dog", "foxdog"))
    rest = [-1] * (len(long) - 1)
    assert rest
    assert found.tokens_T.tolist() == [2, the, *long, fox, 3, 2, dog, 3]
    assert found.of_tokens["tags_L"].tolist() == [-1, 0, 1, *rest, 0, -1, -1, 1, -1]
    assert found.of_tokens["words_L"].tolist() == [-1, 0, 1, *rest, 2, -1, -1, 3, -1]
    assert found.lengths_S.tolist() == [4 + len(long), 3]
    assert (found.examples_S.tolist(), found.cut) == ([0, 1], 0)


def test_long_sentences_lose_nothing_and_no_word_counts_twice():
    vocabulary = trained()
    words = ["the", "quick", "jumping", "fox"] * 10
    tags = ["A", "B", "C", "D"] * 10
    long_word = "jumping" * 8
    examples = [tagged(words, tags), tagged([long_word, "dog"], "AB"), tagged(["dog"], "C")]
    found = word_features(examples, vocabulary, labels="ABCD", max_length=16, stride=6)
    assert found.lengths_S.max() <= 16
    assert len(found.lengths_S) > 5 and found.examples_S.tolist() == sorted(found.examples_S.tolist())
    numbers = found.of_tokens["words_L"]
    assert numbers[numbers >= 0].tolist() == list(range(43))
    assert ((numbers >= 0) == (found.of_tokens["tags_L"] >= 0)).all()
    assert found.of_tokens["tags_L"][numbers >= 0].tolist() == [0, 1, 2, 3] * 10 + [0, 1, 2]
    start, _ = found.starts_S[found.examples_S == 1]  # the long word fills a window
    assert found.tokens_T[start : start + 16].tolist() == [2, *vocabulary.encode(long_word)[:14], 3]
    assert found.of_tokens["words_L"][start : start + 3].tolist() == [-1, 40, -1] and found.cut == 1
    usual = word_features(examples, vocabulary, labels="ABCD", max_length=16, stride=0)
    fives = word_features(examples, vocabulary, labels="ABCD", max_length=16, stride=5)
    assert np.array_equal(usual.tokens_T, fives.tokens_T)


def test_faults_are_one_line():
    vocabulary = trained()
    assert_fault(
        lambda: word_features(
            [tagged(["the", "fox"], "AX", "dev.conll:7")], vocabulary, labels="AB", max_length=16, stride=0
        ),
        r"dev\.conll:7: tag 'X' of word 2, 'fox', must be one of .*: A, B",
    )
    assert_fault(
        lambda: list(word_rows([[[9]]], vocabulary, max_length=2, stride=0)), r"max_length=2 must be > 2"
    )
