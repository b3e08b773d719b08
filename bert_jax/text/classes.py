"""The tokenizer classes of `transformers` that are read here: what each takes from a folder, and what it builds.

`transformers` 5 builds these from a vocabulary and settings, even where there is a tokenizer.json: of that it takes
the vocabulary and the added tokens alone. What it names PreTrainedTokenizerFast or TokenizersBackend is tokenizer.json
as it stands, and no class here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from bert_jax.text import kinds
from bert_jax.text.vocabulary_files import Vocabulary, steps

_BERT = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_ROBERTA = {
    "bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>", "mask": "<mask>",
}  # fmt: skip
_DEBERTA = {"bos": "[CLS]", "eos": "[SEP]", **_BERT}
_ALBERT = _DEBERTA | {"unk": "<unk>", "pad": "<pad>"}


@dataclasses.dataclass(frozen=True)
class TokenizerClass:
    """A class of `transformers`.

    files: its vocabulary's, where there is no tokenizer.json.
    special: role -> token, where the folder names none.
    options: the keys of tokenizer_config.json that it takes, with their defaults.
    build: the tokenizer of a vocabulary, options and special tokens, without added tokens and frame.
    frame: puts the special tokens around a text.
    stated: the options as tokenizer.json has them; raises `ValueError` where the class has no such part.
    """

    name: str
    model: str
    files: tuple[str, ...]
    special: Mapping[str, str]
    options: Mapping[str, Any]
    build: Callable[[Vocabulary, Mapping[str, Any], Mapping[str, str]], tokenizers.Tokenizer]
    frame: Callable[[tokenizers.Tokenizer, Vocabulary, Mapping[str, Any], Mapping[str, str]], None]
    stated: Callable[[Mapping[str, Any]], dict[str, Any]]


# ---------------------------------------------------------------------------------------------
# The classes
# ---------------------------------------------------------------------------------------------


def _bert(
    vocabulary: Vocabulary, options: Mapping[str, Any], special: Mapping[str, str]
) -> tokenizers.Tokenizer:
    return kinds.bare_wordpiece(
        vocabulary.ids,
        lowercase=options["do_lower_case"],
        strip_accents=options["strip_accents"],
        separate_cjk=options["tokenize_chinese_chars"],
        unk=special["unk"],
    )


def _bert_stated(raw: Mapping[str, Any]) -> dict[str, Any]:
    model = raw["model"]
    _expect("model.max_input_chars_per_word", model.get("max_input_chars_per_word", 100), 100)
    _expect("model.continuing_subword_prefix", model.get("continuing_subword_prefix", "##"), "##")
    normalizer, splitting = raw["normalizer"] or {}, raw["pre_tokenizer"] or {}
    _expect("normalizer.type", normalizer.get("type"), "BertNormalizer")
    _expect("normalizer.clean_text", normalizer.get("clean_text"), True)
    _expect("pre_tokenizer.type", splitting.get("type"), "BertPreTokenizer")
    return {
        "do_lower_case": normalizer["lowercase"],
        "strip_accents": normalizer["strip_accents"],
        "tokenize_chinese_chars": normalizer["handle_chinese_chars"],
    }


def _byte_level(
    vocabulary: Vocabulary, options: Mapping[str, Any], special: Mapping[str, str]
) -> tokenizers.Tokenizer:
    return kinds.bare_bpe(vocabulary.ids, vocabulary.merges, add_prefix_space=options["add_prefix_space"])


def _byte_level_stated(raw: Mapping[str, Any]) -> dict[str, Any]:
    for key in (
        "dropout",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "byte_fallback",
        "ignore_merges",
    ):
        _expect(f"model.{key}", raw["model"].get(key) or None, None)
    _expect("normalizer", raw["normalizer"], None)
    splitting = raw["pre_tokenizer"] or {}
    _expect("pre_tokenizer.type", splitting.get("type"), "ByteLevel")
    _expect("pre_tokenizer.use_regex", splitting.get("use_regex", True), True)
    return {"add_prefix_space": splitting["add_prefix_space"]}


def _albert(
    vocabulary: Vocabulary, options: Mapping[str, Any], special: Mapping[str, str]
) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.Unigram(list(vocabulary.pieces), unk_id=1, byte_fallback=False))
    normalizing: list[normalizers.Normalizer] = [
        normalizers.Replace("``", '"'),
        normalizers.Replace("''", '"'),
    ]
    if not options["keep_accents"]:
        normalizing += [normalizers.NFKD(), normalizers.StripAccents()]
    if options["do_lower_case"]:
        normalizing.append(normalizers.Lowercase())
    if vocabulary.charsmap:
        normalizing.append(normalizers.Precompiled(vocabulary.charsmap))
    backend.normalizer = normalizers.Sequence(normalizing)
    _mark_words(
        backend, [pre_tokenizers.WhitespaceSplit()], "always" if options["add_prefix_space"] else "never"
    )
    return backend


def _albert_stated(raw: Mapping[str, Any]) -> dict[str, Any]:
    _expect("model.byte_fallback", raw["model"].get("byte_fallback") or False, False)
    found = {step["type"] for step in steps(raw["normalizer"])}
    return {"do_lower_case": "Lowercase" in found, "keep_accents": "StripAccents" not in found}


def _deberta_v2(
    vocabulary: Vocabulary, options: Mapping[str, Any], special: Mapping[str, str]
) -> tokenizers.Tokenizer:
    unk = (special["unk"], 0.0)
    at = options["unk_id"] if vocabulary.unk is None else vocabulary.unk
    at = vocabulary.pieces.index(unk) if unk in vocabulary.pieces else at
    backend = tokenizers.Tokenizer(models.Unigram(list(vocabulary.pieces), unk_id=at, byte_fallback=False))
    lower = [normalizers.Lowercase()] if options["do_lower_case"] else []
    backend.normalizer = normalizers.Sequence(
        [
            *lower,
            normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
            normalizers.NFC(),
            normalizers.Strip(left=False, right=True),
        ]
    )
    splitting = [pre_tokenizers.Punctuation(behavior="isolated")] if options["split_by_punct"] else []
    _mark_words(backend, splitting, "always" if options["add_prefix_space"] else "first")
    return backend


def _deberta_v2_stated(raw: Mapping[str, Any]) -> dict[str, Any]:
    _expect("model.byte_fallback", raw["model"].get("byte_fallback") or False, False)
    normalizing = {step["type"] for step in steps(raw["normalizer"])}
    splitting = {step["type"] for step in steps(raw["pre_tokenizer"])}
    return {"do_lower_case": "Lowercase" in normalizing, "split_by_punct": "Punctuation" in splitting}


def _mark_words(
    backend: tokenizers.Tokenizer, before: Sequence[pre_tokenizers.PreTokenizer], scheme: str
) -> None:
    marks = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*before, marks])
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme=scheme)


def _expect(part: str, found: object, expected: object) -> None:
    if found != expected:
        raise ValueError(f"{part}={found!r}, must be {expected!r}")


def _frame_as_bert(
    backend: tokenizers.Tokenizer,
    vocabulary: Vocabulary,
    options: Mapping[str, Any],
    special: Mapping[str, str],
) -> None:
    kinds.frame_as_bert(backend, cls=special["cls"], sep=special["sep"])


def _frame_as_the_file(
    backend: tokenizers.Tokenizer,
    vocabulary: Vocabulary,
    options: Mapping[str, Any],
    special: Mapping[str, str],
) -> None:
    if vocabulary.frame is None:
        kinds.frame_as_bert(backend, cls=special["cls"], sep=special["sep"])
    else:
        backend.post_processor = vocabulary.frame


def _frame_as_roberta(
    backend: tokenizers.Tokenizer,
    vocabulary: Vocabulary,
    options: Mapping[str, Any],
    special: Mapping[str, str],
) -> None:
    kinds.frame_as_roberta(
        backend, cls=special["cls"], sep=special["sep"], add_prefix_space=options["add_prefix_space"]
    )


_BERT_OPTIONS = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
BERT = TokenizerClass(
    "BertTokenizer", "WordPiece", ("vocab.txt",), _BERT, _BERT_OPTIONS, _bert, _frame_as_bert, _bert_stated
)
ROBERTA = TokenizerClass(
    "RobertaTokenizer", "BPE", ("vocab.json", "merges.txt"), _ROBERTA, {"add_prefix_space": False},
    _byte_level, _frame_as_roberta, _byte_level_stated,
)  # fmt: skip
DEBERTA = dataclasses.replace(ROBERTA, name="DebertaTokenizer", special=_DEBERTA)
ALBERT = TokenizerClass(
    "AlbertTokenizer", "Unigram", ("spiece.model",), _ALBERT,
    {"do_lower_case": True, "keep_accents": False, "add_prefix_space": True},
    _albert, _frame_as_the_file, _albert_stated,
)  # fmt: skip
DEBERTA_V2 = TokenizerClass(
    "DebertaV2Tokenizer", "Unigram", ("spm.model",), _DEBERTA,
    {"do_lower_case": False, "split_by_punct": False, "add_prefix_space": True, "unk_id": 1},
    _deberta_v2, _frame_as_bert, _deberta_v2_stated,
)  # fmt: skip

BY_NAME = {known.name: known for known in (BERT, ROBERTA, DEBERTA, ALBERT, DEBERTA_V2)} | {
    "DistilBertTokenizer": BERT,
    "ElectraTokenizer": BERT,
}
"""The name in tokenizer_config.json, or that with "Fast" after it."""
AS_IT_STANDS = ("PreTrainedTokenizer", "PreTrainedTokenizerFast", "TokenizersBackend", "PythonBackend")
"""Names for tokenizer.json unchanged."""
BY_MODEL_TYPE = {
    "bert": BERT, "distilbert": BERT, "electra": BERT, "roberta": ROBERTA, "deberta": DEBERTA, "albert": ALBERT,
    "deberta-v2": DEBERTA_V2,
}  # fmt: skip
