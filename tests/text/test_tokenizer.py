"""Vocabularies: exact size, the same ids as the originals, and no structure from plain text."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.config import TokenizerConfig
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import SPECIAL_TOKENS, SpecialIds, Tokenizer, load, train

GOLDEN = Path(__file__).parents[3] / "shared/data/golden"

TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dogs jumped over the foxes.",
    "Élan vital! The naïve café keeps a jumping, jumpy, overjoyed crowd.",
    "数学 is mathematics; 2 + 2 = 4, said [MASK] to [SEP].",
]


def trained(vocab_size: int = 150, *, lowercase: bool = True, texts=TEXTS) -> Tokenizer:
    return train(texts, TokenizerConfig(vocab_size=vocab_size, lowercase=lowercase))


def entries(vocabulary: Tokenizer) -> list[str]:
    return [vocabulary.token(index) for index in range(vocabulary.vocab_size)]


def pieces(vocabulary: Tokenizer, text: str, **options) -> list[str]:
    return [vocabulary.token(index) for index in vocabulary.encode(text, **options)]


def words_from(letters: str, *, count: int) -> list[str]:
    rng = random.Random(5)
    return ["".join(rng.choices(letters, k=rng.randint(1, 8))) for _ in range(count)]


# ---------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------


def test_a_trained_vocabulary_has_the_size_asked_for_and_the_special_tokens_first():
    vocabulary = trained(150)
    assert vocabulary.vocab_size == 150
    assert len(set(entries(vocabulary))) == 150
    assert entries(vocabulary)[:5] == list(SPECIAL_TOKENS)
    assert vocabulary.special == SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)


def test_entries_that_the_corpus_cannot_fill_are_named_unused():
    small = trained(1000)
    unused = [entry for entry in entries(small) if entry.startswith("[unused")]
    assert 0 < len(unused) < 1000
    assert entries(small)[-len(unused) :] == [f"[unused{i}]" for i in range(len(unused))]
    assert "jumped" in entries(small)  # whole words come before the filling


def test_unused_entries_are_never_produced():
    vocabulary = trained(1000)
    unused = {i for i, entry in enumerate(entries(vocabulary)) if entry.startswith("[unused")}
    assert not unused & set(vocabulary.encode("the [unused0] fox [unused1]", special=True))


def test_a_vocabulary_too_small_for_the_alphabet_says_how_many_it_needs():
    with pytest.raises(
        UserError, match=r"^config\.tokenizer\.vocab_size=20 must be >= (\d+): the corpus has"
    ) as e:
        trained(20)
    needed = int(str(e.value).split(">= ")[1].split(":")[0])
    assert trained(needed).vocab_size == needed
    with pytest.raises(UserError, match=f"must be >= {needed}"):
        trained(needed - 1)


def test_frequent_words_become_one_piece_and_rare_ones_several():
    vocabulary = trained(120, texts=["jumping " * 50 + "zebra"])
    assert pieces(vocabulary, "jumping") == ["jumping"]
    rare = pieces(trained(60, texts=["jumping " * 50 + "gnu"]), "pingu")
    assert len(rare) > 1 and all(piece.startswith("##") for piece in rare[1:])


def test_special_tokens_in_the_corpus_are_learned_as_the_plain_text_they_are_encoded_as():
    learned = entries(trained(300, texts=["The [MASK] and the [SEP] stand [PAD] here."]))[5:]
    assert [entry for entry in learned if "[" in entry and not entry.startswith("[unused")] == ["["]
    assert {"mask", "sep"} <= set(learned)


def test_training_twice_gives_the_same_vocabulary():
    texts = [" ".join(words_from("abcdefghijklmnopqrst", count=3000))]
    assert entries(trained(400, texts=texts)) == entries(trained(400, texts=texts))


# ---------------------------------------------------------------------------------------------
# Text to ids
# ---------------------------------------------------------------------------------------------


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


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="abcdefgo .,ÀÉ[]MASK#\t\u200b数", max_size=40))
def test_ids_are_in_range_and_carry_no_structure(text):
    vocabulary = _SHARED
    ids = vocabulary.encode(text)
    assert all(0 <= index < vocabulary.vocab_size for index in ids)
    assert not {0, 2, 3, 4} & set(ids)


_SHARED = trained(150)  # only read; hypothesis would train it for every example


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------

_SAMPLES = [
    *TEXTS,
    "Unseen Words, naïvely JUMPED!",
    "tabs\tand\u00a0spaces",
    "数学数学",
    "[PAD] [MASK] x[SEP]",
]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.txt"])
def test_a_saved_vocabulary_loads_to_the_same_ids(tmp_path, lowercase, name):
    ours = trained(lowercase=lowercase)
    ours.save(tmp_path)
    theirs = load(tmp_path / name, lowercase=lowercase)
    assert entries(theirs) == entries(ours)
    assert theirs.special == ours.special
    for special in (False, True):
        assert theirs.encode_batch(_SAMPLES, special=special) == ours.encode_batch(_SAMPLES, special=special)


def test_that_comparison_sees_a_wrong_case(tmp_path):
    ours = trained(lowercase=False)
    ours.save(tmp_path)
    wrong = load(tmp_path / "vocab.txt", lowercase=True)
    assert wrong.encode_batch(_SAMPLES) != ours.encode_batch(_SAMPLES)


def test_saving_after_encoding_with_special_tokens_writes_the_same_bytes(tmp_path):
    ours = trained()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours.save(tmp_path / "a")
    ours.encode("the [MASK]", special=True)
    ours.encode("the [MASK]")
    ours.save(tmp_path / "b")
    for name in ("tokenizer.json", "vocab.txt"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_vocab_txt_has_an_entry_a_line_in_order(tmp_path):
    ours = trained()
    ours.save(tmp_path)
    assert (tmp_path / "vocab.txt").read_text(encoding="utf-8").splitlines() == entries(ours)


def test_a_loaded_vocabulary_keeps_its_own_ids(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("[MASK]\n[unused0]\n[SEP]\nthe\n[CLS]\n[UNK]\ndog\n##s\n[PAD]")  # no newline at the end
    vocabulary = load(file)
    assert vocabulary.special == SpecialIds(pad=8, unk=5, cls=4, sep=2, mask=0)
    assert vocabulary.encode("The dogs [MASK]", special=True) == [4, 3, 6, 7, 0, 2]


def test_a_tokenizer_json_that_pads_and_truncates_is_read_without_either(tmp_path):
    ours = trained()
    ours.backend.enable_padding(length=64)
    ours.backend.enable_truncation(8)
    ours.save(tmp_path)
    assert load(tmp_path / "tokenizer.json").encode(TEXTS[0]) == trained_ids(tmp_path, TEXTS[0])


def trained_ids(folder: Path, text: str) -> list[int]:
    return load(folder / "vocab.txt").encode(text)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "vocab.txt",
            "the\ndog\n",
            r"vocab\.txt: the vocabulary lacks the special tokens \[PAD\], \[UNK\], ",
        ),
        ("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n", r"vocab\.txt: .* lacks the special tokens \[MASK\]$"),
        (
            "vocab.txt",
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nthe\n",
            r"vocab\.txt: 7 lines but 6 distinct tokens$",
        ),
        ("vocab.txt", b"\xff\xfe", r"vocab\.txt: not a vocabulary that can be read: .*utf-8"),
        ("tokenizer.json", "{", r"tokenizer\.json: not a vocabulary that can be read: "),
        ("tokenizer.json", "{}", r"tokenizer\.json: not a vocabulary that can be read: "),
    ],
)
def test_a_file_that_is_no_bert_vocabulary_is_one_clear_fault(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        load(tmp_path / name)


def test_a_missing_vocabulary_names_the_path(tmp_path):
    with pytest.raises(
        UserError, match=r"^no vocabulary at .*/gone\.txt: expected a tokenizer\.json or vocab\.txt$"
    ):
        load(tmp_path / "gone.txt")


# ---------------------------------------------------------------------------------------------
# Against the originals
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("source", ["folder", "vocab.txt"])
def test_transformers_gives_the_same_ids(tmp_path, lowercase, source):
    transformers = pytest.importorskip("transformers")
    ours = trained(lowercase=lowercase)
    ours.save(tmp_path)
    if source == "folder":
        theirs = transformers.BertTokenizer.from_pretrained(tmp_path, do_lower_case=lowercase)
    else:
        theirs = transformers.BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=lowercase)
    assert theirs(_SAMPLES)["input_ids"] == ours.encode_batch(_SAMPLES, special=True)
    assert theirs.mask_token_id == ours.special.mask


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


def test_google_bert_splits_words_the_same_uncased():
    """Before WordPiece: cleaning, case and punctuation, for which no uncased vocabulary is needed."""
    if not (GOLDEN / "tokenization_cases.json").is_file():
        pytest.skip(f"no golden cases at {GOLDEN}")
    cases = json.loads((GOLDEN / "tokenization_cases.json").read_text(encoding="utf-8"))["cases"]
    backend = _SHARED.backend
    for case in cases:
        words = backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(case["text"]))
        assert [word for word, _ in words] == case["basic_lower"], case["text"]
