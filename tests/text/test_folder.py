"""Published folders: what each file says of casing, special tokens and added tokens is done, or refused by name."""

from __future__ import annotations

import json

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from bert_jax.errors import UserError
from bert_jax.text.folder import has_tokenizer
from bert_jax.text.tokenizer import SpecialIds, load
from tests.text.published import (
    ALBERT,
    DEBERTA_V2,
    WORDPIECE,
    write_bpe,
    write_model,
    write_said,
    write_wordpiece,
)
from tests.text.samples import trained

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
DRUGS = [*SPECIAL, "the", "drug", "binds", "to", "a", "protein", "##s", "."]
BERT, ROBERTA, DEBERTA = {"model_type": "bert"}, {"model_type": "roberta"}, {"model_type": "deberta"}
UNFLAGGED = {"lstrip": False, "rstrip": False, "single_word": False}


def ids(path, text: str) -> list[int]:
    return load(path, lowercase=None).encode(text, special=True)


def tokens(path, text: str) -> list[str]:
    vocabulary = load(path, lowercase=None)
    return [vocabulary.token(index) for index in vocabulary.encode(text, special=True)]


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        load(path, lowercase=None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------
# Added tokens
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"added_tokens": {"<chem>": 13, "ibuprofen": 14}},
        {
            "tokenizer_config": {
                "added_tokens_decoder": {
                    "13": {"content": "<chem>", "normalized": False, "special": True, **UNFLAGGED},
                    "14": {"content": "ibuprofen", "normalized": True, "special": False, **UNFLAGGED},
                }
            }
        },
        {"tokenizer_config": {"additional_special_tokens": ["<chem>", "ibuprofen"]}},
        {"special_tokens_map": {"additional_special_tokens": ["<chem>", "ibuprofen"]}},
        {"tokenizer_config": {"extra_special_tokens": ["<chem>"], "drug_token": "ibuprofen"}},
    ],
)
def test_added_tokens_are_whole_however_they_are_said_and_survive_an_export(tmp_path, said):
    write_wordpiece(tmp_path, DRUGS)
    write_said(tmp_path, config=BERT, **said)
    text = "The ibuprofen binds to <chem> ."
    order = {"ibuprofen": 14, "<chem>": 13}
    if "drug_token" in said.get("tokenizer_config", {}):
        order = {"ibuprofen": 13, "<chem>": 14}
    expected = [2, 5, order["ibuprofen"], 7, 8, order["<chem>"], 12, 3]
    assert ids(tmp_path, text) == expected
    vocabulary = load(tmp_path)
    assert vocabulary.vocab_size == 15
    (tmp_path / "again").mkdir()
    vocabulary.save(tmp_path / "again")
    assert ids(tmp_path / "again", text) == expected
    assert (tmp_path / "again" / "vocab.txt").read_text().split("\n")[:-1] == DRUGS
    (tmp_path / "again" / "tokenizer.json").unlink()
    assert ids(tmp_path / "again", text) == expected


def test_an_additional_special_token_of_the_vocabulary_is_no_pieces(tmp_path):
    write_wordpiece(tmp_path, [*SPECIAL, "<chem>", *DRUGS[5:]])
    write_said(tmp_path, config=BERT, special_tokens_map={"additional_special_tokens": ["<chem>"]})
    assert ids(tmp_path, "The ibuprofen binds to <chem> .") == [2, 6, 1, 8, 9, 5, 13, 3]
    assert 5 not in load(tmp_path).encode("<chem>")  # text alone gives no structure


@pytest.mark.parametrize(("content", "index"), [("ibuprofen", 20), ("ibuprofen", 12), ("the", 13)])
def test_an_added_token_has_the_id_that_is_said_or_is_refused(tmp_path, content, index):
    write_wordpiece(tmp_path, DRUGS)
    write_said(tmp_path, config=BERT, added_tokens={content: index})
    said = refusal(tmp_path)
    assert f'the added token "{content}" must have the id {5 if content == "the" else 13}' in said
    assert f"not {index}" in said


def test_added_tokens_after_a_special_one_keep_their_ids_in_plain_text(tmp_path):
    """DeBERTa-v3's [MASK] is after the last piece, and others after it."""
    write_model(tmp_path / "spm.model", DEBERTA_V2)
    size = len(DEBERTA_V2)
    write_said(
        tmp_path, config={"model_type": "deberta-v2"}, added_tokens={"[MASK]": size, "ibuprofen": size + 1}
    )
    vocabulary = load(tmp_path)
    assert vocabulary.special.mask == size
    assert vocabulary.encode("the ibuprofen [MASK]").count(size + 1) == 1
    assert size not in vocabulary.encode("the ibuprofen [MASK]")
    assert vocabulary.encode("the ibuprofen [MASK]", special=True).count(size) == 1


# ---------------------------------------------------------------------------------------------
# Casing, accents, spaces
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"do_lower_case": False, "strip_accents": False}, ["Der", "läuft"]),
        ({"do_lower_case": True, "strip_accents": False}, ["der", "läuft"]),
        ({"do_lower_case": True}, ["der", "lauft"]),
        ({"do_lower_case": False, "strip_accents": True}, ["Der", "lauft"]),
        ({}, ["Der", "läuft"]),  # the vocabulary has capital letters
    ],
)
def test_a_folder_that_says_its_casing_keeps_it(tmp_path, said, expected):
    """Whatever the reader asks of a vocabulary that comes alone, and by any of its files."""
    write_wordpiece(tmp_path, [*SPECIAL, "Der", "der", "läuft", "lauft"])
    write_said(tmp_path, config=BERT, tokenizer_config=said)
    for path in (tmp_path, tmp_path / "vocab.txt"):
        for lowercase in (None, True, False):
            found = load(path, lowercase=lowercase)
            assert [found.token(index) for index in found.encode("Der läuft")] == expected


def test_cjk_is_kept_together_where_the_folder_says_so(tmp_path):
    write_wordpiece(tmp_path)
    write_said(tmp_path, config=BERT, tokenizer_config={"tokenize_chinese_chars": False})
    assert tokens(tmp_path, "数学") == ["[CLS]", "数学", "[SEP]"]
    write_said(tmp_path, tokenizer_config={})
    assert tokens(tmp_path, "数学") == ["[CLS]", "数", "学", "[SEP]"]


def test_a_vocabulary_alone_is_cased_as_asked(tmp_path):
    write_wordpiece(tmp_path, [*SPECIAL, "der", "Der"])
    assert load(tmp_path, lowercase=True).encode("Der") == [5]
    assert load(tmp_path, lowercase=False).encode("Der") == [6]
    assert load(tmp_path, lowercase=None).encode("Der") == [6]
    write_wordpiece(tmp_path, [*SPECIAL, "der"])
    assert load(tmp_path, lowercase=None).encode("Der") == [5]


def test_a_tokenizer_json_that_the_settings_overrule(tmp_path):
    """As in `transformers`; where nothing overrules it and its class would not follow it, it is refused."""
    entries = [*SPECIAL, "the", "The", "cat", "Cat", "sat", "##s", "mat"]
    write_wordpiece(tmp_path, entries)
    write_said(tmp_path, tokenizer_config={"do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    load(tmp_path).save(tmp_path)
    write_said(
        tmp_path, config=BERT, tokenizer_config={"do_lower_case": False, "tokenizer_class": "BertTokenizer"}
    )
    assert ids(tmp_path, "The Cat sat mat") == [2, 6, 8, 9, 11, 3]
    write_said(tmp_path, tokenizer_config={"tokenizer_class": "PreTrainedTokenizerFast"})
    assert ids(tmp_path, "The Cat sat mat") == [2, 5, 7, 9, 11, 3]
    raw = json.loads((tmp_path / "tokenizer.json").read_text())
    raw["normalizer"]["lowercase"] = False
    write_said(tmp_path, tokenizer=raw, tokenizer_config={"tokenizer_class": "BertTokenizer"})
    assert "tokenizer.json: BertTokenizer" in refusal(tmp_path) and "do_lower_case=false" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("model.max_input_chars_per_word", 50), ("normalizer", None), ("pre_tokenizer.type", "Whitespace")],
)
def test_a_tokenizer_json_of_parts_that_its_class_has_not(tmp_path, key, value):
    trained().save(tmp_path)
    raw = json.loads((tmp_path / "tokenizer.json").read_text())
    part, _, name = key.partition(".")
    raw[part] = {**raw[part], name: value} if name else value
    write_said(tmp_path, tokenizer=raw)
    assert key in refusal(tmp_path) and '"tokenizer_class": "PreTrainedTokenizerFast"' in refusal(tmp_path)


def test_an_uncased_albert_of_a_sentencepiece_model_alone(tmp_path):
    write_model(tmp_path / "spiece.model", ALBERT)
    said = {
        "do_lower_case": True,
        "remove_space": True,
        "keep_accents": False,
        "tokenizer_class": "AlbertTokenizer",
    }
    write_said(tmp_path, tokenizer_config=said)
    text = "The cat sat in London, née Ünder."
    assert ids(tmp_path, text) == ids(tmp_path, "the cat sat in london, nee under.")
    assert tokens(tmp_path, "The cat") == ["[CLS]", "▁the", "▁cat", "[SEP]"]
    write_said(tmp_path, tokenizer_config=said | {"do_lower_case": False, "keep_accents": True})
    assert tokens(tmp_path, "The né") == ["[CLS]", "▁The", "▁", "n", "é", "[SEP]"]
    (tmp_path / "tokenizer_config.json").unlink()  # alone, it is read as SentencePiece does
    assert tokens(tmp_path, "The") == ["[CLS]", "▁The", "[SEP]"]
    write_said(tmp_path, albert_config={})  # google-research's
    assert tokens(tmp_path, "The") == ["[CLS]", "▁the", "[SEP]"]


def test_a_deberta_v2_that_lower_cases_and_splits_at_punctuation(tmp_path):
    write_model(tmp_path / "spm.model", DEBERTA_V2)
    write_said(tmp_path, config={"model_type": "deberta-v2"})
    assert tokens(tmp_path, "The")[1] == "▁The"
    write_said(
        tmp_path, tokenizer_config={"do_lower_case": True, "split_by_punct": True, "vocab_type": "spm"}
    )
    assert tokens(tmp_path, "The,the") == ["[CLS]", "▁the", "▁", ",", "▁the", "[SEP]"]


def test_a_byte_level_vocabulary_with_a_space_before_the_first_word(tmp_path):
    write_bpe(tmp_path, ["<s>", "<pad>", "</s>", "<unk>"], "<mask>")
    write_said(tmp_path, config=ROBERTA)
    assert tokens(tmp_path, "the cat<mask>") == ["<s>", "the", "Ġcat", "<mask>", "</s>"]
    write_said(tmp_path, tokenizer_config={"add_prefix_space": True})
    assert tokens(tmp_path, "the cat<mask>") == ["<s>", "Ġthe", "Ġcat", "<mask>", "</s>"]


# ---------------------------------------------------------------------------------------------
# Special tokens
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [{}, {"config": DEBERTA, "tokenizer_config": {"vocab_type": "gpt2"}}])
def test_a_byte_level_vocabulary_of_deberta_has_its_frame_and_mask(tmp_path, config):
    write_bpe(tmp_path, ["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "[MASK]")
    write_said(tmp_path, **config)
    found = tokens(tmp_path, "the cat [MASK] the")
    assert [token for token in found if token != "Ġ"] == ["[CLS]", "the", "Ġcat", "[MASK]", "Ġthe", "[SEP]"]
    assert load(tmp_path, lowercase=None).special == SpecialIds(pad=0, cls=1, sep=2, unk=3, mask=267)


@pytest.mark.parametrize("name", ["tokenizer_config", "special_tokens_map"])
def test_special_tokens_of_other_names_frame_the_text(tmp_path, name):
    write_wordpiece(tmp_path, ["<pad>", "<unk>", "<s>", "</s>", "<mask>", "the", "cat", "sat"])
    named = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
    write_said(tmp_path, config=BERT, **{name: {f"{role}_token": token for role, token in named.items()}})
    assert ids(tmp_path, "The cat ate") == [2, 5, 6, 1, 3]
    assert ids(tmp_path, "the cat <mask>") == [2, 5, 6, 4, 3]
    vocabulary = load(tmp_path)
    assert vocabulary.names == named
    (tmp_path / "again").mkdir()
    vocabulary.save(tmp_path / "again")
    for lost in ("none", "tokenizer.json"):
        (tmp_path / "again" / lost).unlink(missing_ok=True)
        assert ids(tmp_path / "again", "The cat ate <mask>") == [2, 5, 6, 1, 4, 3]


def test_a_role_without_an_entry_is_no_new_id(tmp_path):
    write_wordpiece(tmp_path)
    write_said(tmp_path, config=BERT, tokenizer_config={"mask_token": "<mask>"})
    assert "lacks the special tokens <mask>: " in refusal(tmp_path)
    trained().save(tmp_path)
    generic = {"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "<mask>"}
    write_said(tmp_path, tokenizer_config=generic)
    assert "lacks the special tokens <mask>: " in refusal(tmp_path)


# ---------------------------------------------------------------------------------------------
# Lines of vocab.txt
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected", "size"),
    [
        ([*SPECIAL, "we", "like", "", "rice", "", "."], [2, 5, 6, 8, 10, 3], 11),
        ([*SPECIAL, "we", "like", "we", "rice", "."], [2, 7, 6, 8, 9, 3], 10),
        ([*SPECIAL, "we", "like ", "rice\r", "."], [2, 5, 6, 7, 8, 3], 9),
    ],
)
def test_an_id_is_a_lines_number_whatever_is_on_the_others(tmp_path, lines, expected, size):
    write_wordpiece(tmp_path, lines)
    write_said(tmp_path, config=BERT)
    vocabulary = load(tmp_path)
    assert vocabulary.encode("we like rice .", special=True) == expected
    assert vocabulary.vocab_size == size
    ordinary = {vocabulary.token(index) for index in vocabulary.ordinary_ids()}
    assert ordinary == {"we", "like", "rice", "."}
    (tmp_path / "again").mkdir()
    vocabulary.save(tmp_path / "again")
    for lost in ("none", "tokenizer.json"):
        (tmp_path / "again" / lost).unlink(missing_ok=True)
        assert ids(tmp_path / "again", "we like rice .") == expected


# ---------------------------------------------------------------------------------------------
# What is refused
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"tokenizer_config": {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "mecab"}},
            "tokenizer_config.json: tokenizer_class='BertJapaneseTokenizer' is not read here",
        ),
        ({"config": {"tokenizer_class": "PhobertTokenizer"}}, "config.json: tokenizer_class='PhobertTokenizer'"),
        ({"config": {"model_type": "xlm-roberta"}}, "config.json: model_type='xlm-roberta', whose tokenizer"),
        ({"tokenizer_config": {"do_basic_tokenize": False}}, "tokenizer_config.json: do_basic_tokenize=false"),
        ({"tokenizer_config": {"split_special_tokens": True}}, "split_special_tokens=true"),
        ({"tokenizer_config": {"do_lower_case": "no"}}, 'do_lower_case="no" must be true or false'),
        ({"tokenizer_config": {"never_split": ["the"]}}, 'never_split=["the"] must name special tokens'),
        ({"tokenizer_config": {"auto_map": {"AutoTokenizer": "x"}}}, "auto_map="),
        ({"tokenizer_config": {"mask_token": 4}}, "4 must be a token"),
        ({"tokenizer_config": {"added_tokens_decoder": {"x": {"content": "y"}}}}, '"x" must be a token\'s id'),
        ({"tokenizer_config": {"added_tokens_decoder": {"34": {"content": "y", "special": 1}}}}, "true or false"),
        ({"tokenizer_config": {"additional_special_tokens": "x"}}, 'additional_special_tokens="x" must be a list'),
        ({"tokenizer_config": {"tokenizer_class": "TokenizersBackend"}}, "needs a tokenizer.json, which is not"),
        ({"tokenizer_config": {"tokenizer_class": "RobertaTokenizer"}}, "its model is WordPiece, RobertaTokenizer"),
        (
            {"tokenizer_config": {"extra_special_tokens": []}, "special_tokens_map": {
                "additional_special_tokens": ["<chem>"]}},
            "special_tokens_map.json: additional_special_tokens names '<chem>'",
        ),
    ],
)  # fmt: skip
def test_what_would_give_other_ids_is_refused_by_key_value_and_file(tmp_path, files, message):
    write_wordpiece(tmp_path)
    write_said(tmp_path, **{"config": BERT, **files})
    said = refusal(tmp_path)
    assert message in said and str(tmp_path) in said


def test_a_class_and_a_tokenizer_json_of_another_model(tmp_path):
    trained(kind="bpe", lowercase=False).save(tmp_path)
    write_said(tmp_path, tokenizer_config={"tokenizer_class": "BertTokenizer"})
    assert "model.type='BPE', must be 'WordPiece'" in refusal(tmp_path)


def test_ids_that_are_drawn_at_random_are_refused(tmp_path):
    trained(kind="bpe", lowercase=True).save(tmp_path)  # of the generic class
    raw = json.loads((tmp_path / "tokenizer.json").read_text())
    raw["model"]["dropout"] = 0.5
    write_said(tmp_path, tokenizer=raw)
    assert "model.dropout=0.5 must be 0" in refusal(tmp_path)


# ---------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------


def test_a_file_of_a_usual_name_stands_for_its_folder_and_another_for_itself(tmp_path):
    backend = tokenizers.Tokenizer(
        models.WordPiece({t: i for i, t in enumerate(WORDPIECE)}, unk_token="[UNK]")
    )
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.save(str(tmp_path / "tokenizer.json"))
    write_wordpiece(tmp_path)
    assert load(tmp_path).encode("the.") == [1]
    assert load(tmp_path / "vocab.txt").encode("the.") == [1]
    (tmp_path / "vocab.txt").rename(tmp_path / "mine.txt")
    assert load(tmp_path / "mine.txt").encode("the.") == [5, 19]


def test_a_folder_without_a_tokenizer_has_none(tmp_path):
    assert not has_tokenizer(tmp_path)
    write_said(tmp_path, tokenizer_config={"do_lower_case": True})
    assert not has_tokenizer(tmp_path)
    write_wordpiece(tmp_path)
    assert has_tokenizer(tmp_path)
