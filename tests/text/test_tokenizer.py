"""Text to ids: the same as the originals', the same chunk by chunk, and no structure from plain text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.text import kinds
from bert_jax.text.tokenizer import load
from tests.text.samples import HARD, KINDS, TEXTS, entries, pieces, trained

GOLDEN = Path(__file__).parents[3] / "shared/data/golden"
SPECIAL_TOKENS = tuple(kinds.SPECIAL["wordpiece"].values())


def test_lowercase_folds_case_and_accents_and_cased_keeps_both():
    uncased, cased = trained(300), trained(300, lowercase=False)
    assert uncased.encode("THE Café") == uncased.encode("the cafe")
    assert cased.encode("THE") != cased.encode("the")
    assert pieces(cased, "Élan")[0].startswith("É")
    assert not any(letter.isupper() for entry in entries(uncased)[5:] for letter in entry)


@pytest.mark.parametrize("token", SPECIAL_TOKENS)
def test_special_tokens_in_text_are_plain_text_unless_asked_for(token):
    vocabulary = trained()
    index = SPECIAL_TOKENS.index(token)
    plain = pieces(vocabulary, f"the {token} dog")
    assert token not in plain
    assert plain[1] == "["
    assert vocabulary.encode(f"the {token} dog", special=True)[2] == index
    assert plain == pieces(vocabulary, f"the {token} dog")  # asking once leaves no trace


def test_special_puts_cls_and_sep_around_the_text():
    vocabulary = trained()
    assert vocabulary.encode("the fox", special=True) == [2, *vocabulary.encode("the fox"), 3]
    assert vocabulary.encode("", special=True) == [2, 3]
    assert vocabulary.encode("") == []


def test_characters_that_training_did_not_see_are_unknown():
    assert pieces(trained(), "the Ω fox") == ["the", "[UNK]", "fox"]


def test_a_word_of_more_than_100_characters_is_unknown_as_in_bert():
    vocabulary = trained()
    assert pieces(vocabulary, "a" * 101) == ["[UNK]"]
    assert "[UNK]" not in pieces(vocabulary, "a" * 100)


def test_a_batch_gives_what_its_texts_give_alone():
    vocabulary = trained()
    texts = [*TEXTS, "", "the dog " * 600]  # 1,200 pieces: nothing is truncated or padded
    assert vocabulary.encode_batch(texts) == [vocabulary.encode(text) for text in texts]
    assert len(vocabulary.encode(texts[-1])) == 1200


def test_decoding_joins_the_pieces():
    vocabulary = trained(300)
    ids = vocabulary.encode("The foxes jumped.", special=True)
    assert vocabulary.decode(ids) == "[CLS] the foxes jumped. [SEP]"


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_a_token_is_shown_as_text_has_it(kind):
    vocabulary = trained(300, kind=kind)
    shown = [vocabulary.readable(index) for index in vocabulary.encode("The fox")]
    assert [token for token in shown if token != "▁"] == ["the", "fox"]
    special = vocabulary.special.mask
    assert vocabulary.readable(special) == vocabulary.token(special) == kinds.SPECIAL[kind]["mask"]
    assert vocabulary.readable(10**6) == "[1000000]"  # a row that pads the embedding table
    if kind == "wordpiece":
        assert "##ed" in map(vocabulary.readable, range(vocabulary.vocab_size))
    if kind == "unigram":
        assert vocabulary.readable(vocabulary.backend.token_to_id("▁")) == "▁"


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="abcdefgo .,ÀÉ[]MASK#\t\u200b数", max_size=40))
def test_ids_are_in_range_and_carry_no_structure(text):
    vocabulary = trained(150)
    ids = vocabulary.encode(text)
    assert all(0 <= index < vocabulary.vocab_size for index in ids)
    assert not {0, 2, 3, 4} & set(ids)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("lowercase", [True, False])
def test_structure_is_read_only_where_it_is_asked_for(kind, lowercase):
    vocabulary = trained(kind=kind, lowercase=lowercase)
    special, names = vocabulary.special, kinds.SPECIAL[kind]
    text = f"the {names['mask']} dog {names['sep']}{names['pad']} fox"
    structure = {special.pad, special.cls, special.sep, special.mask}
    assert not structure & set(vocabulary.encode(text))
    ids = vocabulary.encode(text, special=True)
    assert [i for i in ids if i in structure] == [
        special.cls, special.mask, special.sep, special.pad, special.sep,
    ]  # fmt: skip
    assert vocabulary.encode("", special=True) == [special.cls, special.sep]


def test_byte_level_bpe_knows_every_character_and_keeps_case():
    vocabulary = trained(kind="bpe", lowercase=False)
    for text in HARD:
        ids = vocabulary.encode(text)
        assert vocabulary.special.unk not in ids
        assert vocabulary.decode(ids) == text
    lower = trained(kind="bpe", lowercase=True)
    assert lower.encode("THE Café") == lower.encode("the cafe")


def test_a_pair_is_framed_as_in_each_original():
    def framed(kind):
        encoding = trained(kind=kind).backend.encode("a", "b")
        return encoding.tokens, encoding.type_ids

    for kind in KINDS:
        trained(kind=kind).backend.encode_special_tokens = False
    assert framed("wordpiece") == (["[CLS]", "a", "[SEP]", "b", "[SEP]"], [0, 0, 0, 1, 1])
    assert framed("bpe") == (["<s>", "a", "</s>", "</s>", "b", "</s>"], [0] * 6)
    tokens, types = framed("unigram")
    assert (tokens[0], tokens.count("[SEP]"), sorted(types) == types) == ("[CLS]", 2, True)


# ---------------------------------------------------------------------------------------------
# Chunks
# ---------------------------------------------------------------------------------------------


def chunks_of(line: str) -> list[str]:
    return line.replace(" ", "\n ").split("\n")


_TEXT = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30),
    st.lists(
        st.sampled_from([*" aé.,'´\u0301数。[]<>s0Ω🦊", "the", "n't", "<s>", "[MASK]"]), max_size=20
    ).map("".join),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [True, False])
@settings(max_examples=60, deadline=None)
@given(text=_TEXT)
def test_a_line_is_encoded_as_its_chunks(kind, lowercase, text):
    vocabulary = trained(kind=kind, lowercase=lowercase)
    line = " ".join(text.split())
    chunks = chunks_of(line)
    assert "".join(chunks) == line
    encoded = vocabulary.encode_chunks(chunks)
    assert encoded.ids.tolist() == vocabulary.encode(line)
    assert encoded.lengths.tolist() == [len(vocabulary.encode(chunk)) for chunk in chunks]
    [whole] = kinds.for_plain_text(vocabulary.backend).encode_batch([line], add_special_tokens=False)
    words = np.array(whole.word_ids, np.int64)
    expected = np.append(True, words[1:] != words[:-1]) if len(words) else np.zeros(0, bool)
    assert encoded.word_starts.tolist() == expected.tolist()


def test_words_are_the_pre_tokenizers():
    def marked(kind, *chunks):
        vocabulary = trained(kind=kind, lowercase=False)
        ids, _, starts = vocabulary.encode_chunks(list(chunks))
        return "".join(
            "|" * int(start) + vocabulary.token(i) for i, start in zip(ids.tolist(), starts, strict=True)
        )

    assert marked("wordpiece", "don't", " the", "", " dogs.").replace("##", "") == "|don|[UNK]|t|the|dogs|."
    assert marked("bpe", "don't", " the", "", " dogs.") == "|don|'t|Ġthe|Ġdogs|."
    assert marked("unigram", "don't", " the", "", " dogs.") == "|▁don't|▁the|▁dogs."


def test_chunks_have_the_types_of_the_contract():
    encoded = trained().encode_chunks(["", "the", " ", " dog"])
    assert (encoded.ids.dtype, encoded.lengths.dtype, encoded.word_starts.dtype) == (
        np.uint32,
        np.int64,
        bool,
    )
    assert encoded.lengths.tolist() == [0, 1, 0, 1]
    empty = trained().encode_chunks([])
    assert [len(array) for array in empty] == [0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_entries_are_neither_special_nor_unused(kind):
    vocabulary = trained(2000, kind=kind)
    ordinary = vocabulary.ordinary_ids()
    names = entries(vocabulary)
    left_out = set(range(2000)) - set(ordinary.tolist())
    unused = {i for i, name in enumerate(names) if name[1:].startswith("unused")}
    assert unused and left_out == unused | {names.index(token) for token in kinds.SPECIAL[kind].values()}
    assert (np.diff(ordinary) > 0).all()


# ---------------------------------------------------------------------------------------------
# Against the original
# ---------------------------------------------------------------------------------------------


def test_google_bert_gives_the_same_ids():
    """Ids of google-research/bert's tokenization.py with the vocabulary of bert-base-cased."""
    if not (GOLDEN / "tokenization_cases.json").is_file():
        pytest.skip(f"no golden cases at {GOLDEN}")
    cases = json.loads((GOLDEN / "tokenization_cases.json").read_text(encoding="utf-8"))["cases"]
    vocabulary = load(GOLDEN / "bert-base-cased-vocab.txt", lowercase=False)
    assert vocabulary.vocab_size == 28_996
    assert len(cases) > 50
    for case in cases:
        assert vocabulary.encode(case["text"]) == case["ids_cased"], case["text"]
        assert pieces(vocabulary, case["text"]) == case["wordpiece_cased"]


def test_google_bert_gives_the_same_ids_uncased(tmp_path):
    """Of bert-base-uncased the pieces that the cases have are enough: each is the longest match in all of it."""
    if not (GOLDEN / "tokenization_cases.json").is_file():
        pytest.skip(f"no golden cases at {GOLDEN}")
    cases = json.loads((GOLDEN / "tokenization_cases.json").read_text(encoding="utf-8"))["cases"]
    known = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    for case in cases:
        known |= dict(zip(case["ids_uncased"], case["wordpiece_uncased"], strict=True))
    tokens = [known.get(i, f"[unused{i}]") for i in range(30_522)]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens), encoding="utf-8")
    vocabulary = load(tmp_path / "vocab.txt", lowercase=True)
    for case in cases:
        text = case["text"]
        assert vocabulary.encode(text) == case["ids_uncased"], text
        words = vocabulary.backend.pre_tokenizer.pre_tokenize_str(
            vocabulary.backend.normalizer.normalize_str(text)
        )
        assert [word for word, _ in words] == case["basic_lower"], text
        vocabulary.backend.encode_special_tokens = False
        fast = vocabulary.backend.encode(text)
        assert fast.tokens[1:-1] == case["hf_fast_tokens"], text
        assert [list(span) for span in fast.offsets] == case["hf_fast_offsets_with_special"], text


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_stand_where_their_text_is(kind):
    vocabulary = trained(300, kind=kind)
    for text, (ids, spans_T2) in zip(HARD, vocabulary.encode_spans(HARD), strict=True):
        [encoding] = vocabulary.encode_texts([text], max_length=10_000)
        before, after = vocabulary.frame
        assert [*before, *ids.tolist(), *after] == encoding.ids
        assert spans_T2.shape == (len(ids), 2) and (np.diff(spans_T2[:, 0]) >= 0).all()
        assert not any(text[start:end][:1].isspace() for start, end in spans_T2.tolist())
    [_, spans_T2] = vocabulary.encode_spans(["The quick  fox."])[0]
    found = ["The quick  fox."[start:end] for start, end in spans_T2.tolist()]
    assert found[-2:] in (["fox", "."], ["x", "."]) and vocabulary.encode_spans([""])[0].spans_T2.shape == (
        0,
        2,
    )


@pytest.mark.parametrize(
    ("kind", "begins", "inside"), [("wordpiece", "", "##"), ("bpe", "\u0120", ""), ("unigram", "\u2581", "")]
)
def test_whole_words_are_the_entries_that_begin_one_and_are_letters(kind, begins, inside):
    vocabulary = trained(300, kind=kind)
    found, index = vocabulary.whole_words(), vocabulary.backend.token_to_id
    assert found[index(f"{begins}fox")] == "fox" and list(found) == sorted(found)
    assert index(f"{inside}e") is not None and index(f"{inside}e") not in found
    assert all(word.isalpha() for word in found.values()) and not {begins, "[unused0]"} & set(found.values())
    assert all(
        vocabulary.token(number) == f"{begins}{word}" for number, word in found.items() if word.isascii()
    )
