"""Folders of tokenizers against AutoTokenizer of `transformers`: every way to say something of one, on odd texts.

A cell of the grid is a folder: a family, the vocabulary's files that are there, what is said and in which file. Our ids
equal theirs, or the folder is refused in one line; which of the two is known for each.
"""

from __future__ import annotations

import importlib
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bert_jax.errors import UserError
from bert_jax.interop.load import load_tokenizer
from tests.text.published import ALBERT, DEBERTA_V2, WORDPIECE, write_said, write_vocabulary

transformers = pytest.importorskip("transformers")
pytest.importorskip("sentencepiece", reason="transformers reads a .model through it")

FAMILIES = ("bert", "distilbert", "electra", "roberta", "deberta", "albert", "deberta-v2")
BERTS = ("bert", "distilbert", "electra")
BYTE_LEVEL = ("roberta", "deberta")
UNIGRAM = ("albert", "deberta-v2")
CLASSES = {
    "bert": "BertTokenizer", "distilbert": "DistilBertTokenizer", "electra": "ElectraTokenizer",
    "roberta": "RobertaTokenizer", "deberta": "DebertaTokenizer", "albert": "AlbertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}  # fmt: skip
FILES = ("json", "vocabulary", "both")
# Entries without tokens that are added, the mask of DeBERTa-v2 included.
SIZES = {"roberta": 268, "deberta": 268, "albert": len(ALBERT), "deberta-v2": len(DEBERTA_V2)}
TEXTS = [
    "", " ", "the cat sat on mat.", "The Cat SAT, on the MAT", "Café cafe\u0301 läuft Läuft naïve ÉLAN", "数学数 is 数.",
    "a 🦊\u200d❤ b", "the\x00cat\x07 \ufffd\u200b sat", "the  cat   sat  ", " the cat", "the\ncat\tsat\r\n",
    "[MASK] [mask] [CLS]x[SEP] <s> </s> <mask> <pad> <unk> [UNK]", "the [MASK]cat", "the <mask> cat",
    "<chem>the<CHEM> x<chem> y", "aibuprofen ibuprofen IBUPROFEN Ibuprofens the ibuprofen cat", "ibuprofenibuprofen",
    "the " + "a" * 150 + " cat", "``quoted'' “x” it's (can't) 1,000", "ﬁ Ａ \u00ad ½ İ ẞ ß", "the\u00a0cat\u3000sat",
]  # fmt: skip


class Case(NamedTuple):
    """What is said of a vocabulary.

    files: of JSON, by name without ending, besides config.json.
    works: False: it is refused.
    without_json: the same of a folder without tokenizer.json; None: as `works`.
    """

    name: str
    files: dict[str, dict[str, Any]]
    works: bool = True
    without_json: bool | None = None


def flagged(content: str, **flags: bool) -> dict[str, Any]:
    usual = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": False}
    return {"content": content, **usual, **flags}


def config(name: str, values: dict[str, Any], **options: Any) -> Case:
    return Case(name, {"tokenizer_config": values}, **options)


def cases(family: str) -> list[Case]:
    """Of every key, and of combinations in which one bears on another."""
    known = CLASSES[family]
    mask = "<mask>" if family == "roberta" else "[MASK]"
    size = SIZES.get(family, len(WORDPIECE))
    first = size + (family == "deberta-v2")
    masks = {str(size): flagged(mask, special=True)} if family == "deberta-v2" else {}
    named = {"mask_token": mask}
    found = [
        Case("silent", {}),
        config("class", {"tokenizer_class": known}),
        config("fast class", {"tokenizer_class": f"{known}Fast"}),
        config("generic class", {"tokenizer_class": "PreTrainedTokenizerFast", **named}, without_json=False),
        config("v5's generic class", {"tokenizer_class": "TokenizersBackend", **named}, without_json=False),
        *(
            config(name, {"tokenizer_class": name}, works=False)
            for name in ("BertJapaneseTokenizer", "PhobertTokenizer", "BertweetTokenizer", "MecabTokenizer", "Nope")
        ),
        config("without effect", {
            "model_max_length": 8, "clean_up_tokenization_spaces": True, "padding_side": "left", "errors": "strict",
            "truncation_side": "left", "trim_offsets": False, "name_or_path": "x", "never_split": None, "sp": 1,
            "do_basic_tokenize": True, "model_input_names": ["input_ids"], "remove_space": True, "sp_model_kwargs": {},
            "split_special_tokens": False, "backend": "tokenizers", "max_len": 5, "chat_template": "x",
        }),
        config("split_special_tokens", {"split_special_tokens": True}, works=False),
        config("do_basic_tokenize", {"do_basic_tokenize": False}, works=False),
        config("never_split", {"never_split": ["the"]}, works=False),
        config("never_split special", {"never_split": [mask]}),
        config("mecab", {"word_tokenizer_type": "mecab"}, works=False),
        config("remove_space", {"remove_space": False}, works=False),
        config("sampling", {"sp_model_kwargs": {"enable_sampling": True}}, works=False),
        config("normalization", {"normalization": True}, works=False),
        config("misspelt", {"do_lowercase": False}, works=False),
        config("remote code", {"auto_map": {"AutoTokenizer": ["x.X", None]}}, works=False),
        config("additional", {"additional_special_tokens": ["<chem>"]}),
        config("additional in the vocabulary", {"additional_special_tokens": ["a"]}),
        config("extra", {"extra_special_tokens": ["<chem>", "ibuprofen"]}),
        config("extra by name", {"extra_special_tokens": {"chem_token": "<chem>"}}),
        config("another role", {"chem_token": "<chem>"}),
        config("decoder", {"added_tokens_decoder": {
            **masks, str(first): flagged("<chem>", special=True),
            str(first + 1): flagged("ibuprofen", normalized=True),
        }}),
        *(
            config(f"decoder {flag}", {"added_tokens_decoder": {
                **masks, str(first): flagged("ibuprofen", **{flag: True}),
            }})
            for flag in ("lstrip", "rstrip", "normalized", "single_word", "special")
        ),
        config("decoder of another id", {"added_tokens_decoder": {
            **masks, str(first + 7): flagged("ibuprofen"),
        }}, works=False),
        config("decoder and additional", {
            "additional_special_tokens": ["<chem>"],
            "added_tokens_decoder": {**masks, str(first): flagged("<chem>", special=True, rstrip=True)},
        }),
        config("mask with flags", {"mask_token": {"__type": "AddedToken", **flagged(mask, lstrip=True)}}),
        Case("map", {"special_tokens_map": {"mask_token": mask}}),
        Case("map with flags", {"special_tokens_map": {"mask_token": flagged(mask, lstrip=True)}}),
        Case("map extra", {"special_tokens_map": {"extra_special_tokens": ["<chem>"]}}),
        Case("map additional", {"special_tokens_map": {"additional_special_tokens": ["<chem>"]}},
             without_json=family not in UNIGRAM),
        Case("map and config", {
            "special_tokens_map": {"mask_token": flagged(mask, lstrip=True)},
            "tokenizer_config": {"tokenizer_class": known, "mask_token": mask},
        }),
        Case("map and decoder", {
            "special_tokens_map": {"additional_special_tokens": ["a"]},
            "tokenizer_config": {"added_tokens_decoder": {**masks, str(first): flagged("ibuprofen")}},
        }),
        Case("added_tokens.json", {"added_tokens": {
            **({mask: size} if masks else {}), "<chem>": first, "ibuprofen": first + 1,
        }}),
        Case("added_tokens.json and roles", {
            "added_tokens": {**({mask: size} if masks else {}), "<chem>": first},
            "special_tokens_map": {"mask_token": mask, "extra_special_tokens": ["<chem>"]},
        }),
        Case("added_tokens.json of another id", {"added_tokens": {"ibuprofen": first + 3}}, works=False),
        config("mask is missing", {"mask_token": "[NO]"}, works=False, without_json=family in UNIGRAM),
        config("mask is null", {"mask_token": None}, works=False, without_json=False),
    ]  # fmt: skip
    if family in BERTS:
        for values in itertools.product((None, True, False), (None, True, False), (None, False)):
            named = dict(
                zip(("do_lower_case", "strip_accents", "tokenize_chinese_chars"), values, strict=True)
            )
            given = {key: value for key, value in named.items() if value is not None}
            found.append(config(f"casing {given}", {"tokenizer_class": known, **given}))
        found += [
            config("other names", {"cls_token": "<s>", "sep_token": "</s>", "unk_token": "a"}),
            config("not a boolean", {"do_lower_case": "false"}, works=False),
            config("prefix", {"wordpieces_prefix": "@@"}, works=False),
        ]
    if family in BYTE_LEVEL:
        found += [
            config("prefix space", {"add_prefix_space": True}),
            config("no prefix space", {"add_prefix_space": False, "do_lower_case": True}),
        ]
    if family == "deberta":
        found += [config("gpt2", {"vocab_type": "gpt2"}), config("spm", {"vocab_type": "spm"}, works=False)]
    if family == "albert":
        found += [
            config(f"casing {lower} {accents}", {"do_lower_case": lower, "keep_accents": accents})
            for lower in (True, False) for accents in (True, False)
        ]  # fmt: skip
        found += [config("bos", {"add_bos_token": True}, without_json=False)]
    if family == "deberta-v2":
        found += [
            config(f"casing {lower} {punct}", {"do_lower_case": lower, "split_by_punct": punct, "vocab_type": "spm"})
            for lower in (True, False) for punct in (True, False)
        ]  # fmt: skip
    if family in UNIGRAM:
        found += [config("no prefix space", {"add_prefix_space": False})]
    return found


@pytest.fixture(autouse=True)
def protobuf(monkeypatch):
    """sentencepiece's own reader of a .model needs a newer protobuf than apache-beam allows; transformers has another."""
    from transformers.utils import logging, sentencepiece_model_pb2_new

    converting = importlib.import_module("transformers.convert_slow_tokenizer")
    monkeypatch.setattr(converting, "import_protobuf", lambda *_: sentencepiece_model_pb2_new)
    logging.set_verbosity_error()


def theirs(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


def made(folder: Path, family: str, case: Case, files: str) -> Path:
    """The folder of a cell. Its tokenizer.json is what transformers writes for the family by default."""
    folder.mkdir(parents=True)
    write_vocabulary(folder, family)
    write_said(folder, config={"model_type": family})
    if files != "vocabulary":
        theirs(folder).save_pretrained(folder / "saved")
        (folder / "saved" / "tokenizer.json").rename(folder / "tokenizer.json")
    if files == "json":
        for name in ("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "spm.model"):
            (folder / name).unlink(missing_ok=True)
    write_said(folder, **case.files)
    return folder


def ours(folder: Path) -> Any:
    """Our tokenizer, or the line that refuses it."""
    try:
        return load_tokenizer(folder)
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("family", FAMILIES)
def test_ids_are_those_of_transformers_or_the_folder_is_refused(tmp_path, family, files):
    wrong, counts = [], Counter()
    for number, case in enumerate(cases(family)):
        folder = made(tmp_path / str(number), family, case, files)
        works = case.works
        if files == "vocabulary" and case.without_json is not None:
            works = case.without_json
        found = ours(folder)
        counts[works] += 1
        if isinstance(found, str):
            assert "\n" not in found and str(folder) in found
            if works:
                wrong.append(f"{case.name}: refused: {found}")
            continue
        if not works:
            wrong.append(f"{case.name}: read, and must be refused")
            continue
        expected = theirs(folder)(TEXTS)["input_ids"]
        for text, got, want in zip(TEXTS, found.encode_batch(TEXTS, special=True), expected, strict=True):
            if got != want:
                wrong.append(f"{case.name}: {text!r}: {got}, transformers {want}")
                break
    assert not wrong, "\n".join(wrong)
    assert counts[True] > 20 and counts[False] > 10  # a grid of refusals would say nothing


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_read_is_saved_with_the_same_ids_for_transformers(tmp_path, family, files):
    """Casing, accents, added tokens with their flags and further special tokens, from one folder to another."""
    saved = 0
    for number, case in enumerate(cases(family)):
        folder = made(tmp_path / str(number), family, case, files)
        tokenizer = ours(folder)
        if isinstance(tokenizer, str):
            continue
        (folder / "again").mkdir()
        tokenizer.save(folder / "again")
        write_said(folder / "again", config={"model_type": family})
        expected = tokenizer.encode_batch(TEXTS, special=True)
        again = theirs(folder / "again")
        assert again(TEXTS)["input_ids"] == expected, case.name
        assert load_tokenizer(folder / "again").encode_batch(TEXTS, special=True) == expected, case.name
        special = {
            token.content for token in tokenizer.backend.get_added_tokens_decoder().values() if token.special
        }
        assert special <= {*again.all_special_tokens}, case.name
        if (folder / "again" / "vocab.txt").is_file() and "Bert" in type(again).__name__:
            (folder / "again" / "tokenizer.json").unlink()  # as older versions read it
            assert theirs(folder / "again")(TEXTS)["input_ids"] == expected, case.name
            assert load_tokenizer(folder / "again").encode_batch(TEXTS, special=True) == expected, case.name
        saved += 1
    assert saved > 20


def test_this_grid_sees_a_wrong_case(tmp_path):
    folder = made(tmp_path / "a", "bert", config("cased", {"do_lower_case": False}), "vocabulary")
    expected = theirs(folder)(TEXTS)["input_ids"]
    write_said(folder, tokenizer_config={"do_lower_case": True})
    assert load_tokenizer(folder).encode_batch(TEXTS, special=True) != expected


def test_a_tokenizer_json_that_another_setting_overrules_is_read_as_transformers_does(tmp_path):
    """Both ways; where tokenizer_config.json is silent nothing overrules it, and it is refused."""
    folder = made(tmp_path / "a", "bert", Case("silent", {}), "json")
    raw = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    raw["normalizer"]["lowercase"] = False
    write_said(folder, tokenizer=raw)
    assert "do_lower_case=false" in ours(folder)
    for lowercase in (True, False):
        write_said(folder, tokenizer_config={"do_lower_case": lowercase})
        expected = theirs(folder)(TEXTS)["input_ids"]
        assert ours(folder).encode_batch(TEXTS, special=True) == expected
