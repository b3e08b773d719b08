"""Vocabularies, in every form that is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bert_jax.text import tokenizer as tokenizers
from tests.hostile.format import Format
from tests.text import published

_READ = ["The cat sat on the mat.", "[MASK] café 数学 <s> [SEP]", ""]


def _tokenizer(folder: Path) -> Any:
    loaded = tokenizers.load(folder, lowercase=None)
    texts = [[encoding.ids for encoding in loaded.encode_texts(_READ, max_length=16)]]
    words = loaded.encode_chunks(_READ)
    return [
        texts,
        words.ids.tolist(),
        loaded.frame,
        loaded.vocab_size,
        loaded.names,
        loaded.decode(words.ids.tolist()),
    ]


_BESIDE: dict[str, Any] = {
    "special_tokens_map.json": {"unk_token": "[UNK]", "mask_token": {"content": "[MASK]", "lstrip": False}},
    "added_tokens.json": {"<x>": len(published.WORDPIECE)},
}


def _write_vocab(folder: Path) -> None:
    published.write_wordpiece(folder)
    for name, value in _BESIDE.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "never_split": ["[CLS]"]})
    )


def _write_merges(folder: Path) -> None:
    published.write_bpe(folder, ["<s>", "<pad>", "</s>", "<unk>"], "<mask>")


def _write_spiece(folder: Path) -> None:
    published.write_model(folder / "spiece.model", published.ALBERT)


def _write_spm(folder: Path) -> None:
    published.write_model(folder / "spm.model", published.DEBERTA_V2)


def _saved(write: Callable[[Path], None]) -> Callable[[Path], None]:
    """The tokenizer of a folder as we save it: tokenizer.json and tokenizer_config.json."""

    def saved(folder: Path) -> None:
        (folder / "of").mkdir()
        write(folder / "of")
        tokenizers.load(folder / "of", lowercase=None).save(folder)

    return saved


def formats() -> list[Format]:
    both = ("tokenizer.json", "tokenizer_config.json")
    return [
        Format("vocab.txt", _write_vocab, _tokenizer, (
            "vocab.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
        )),
        Format("vocab.json", _write_merges, _tokenizer, ("vocab.json", "merges.txt")),
        Format("spiece.model", _write_spiece, _tokenizer, ("spiece.model",)),
        Format("spm.model", _write_spm, _tokenizer, ("spm.model",)),
        Format("tokenizer.json-wordpiece", _saved(_write_vocab), _tokenizer, both),
        Format("tokenizer.json-bpe", _saved(_write_merges), _tokenizer, both),
        Format("tokenizer.json-unigram", _saved(_write_spiece), _tokenizer, both),
    ]  # fmt: skip
