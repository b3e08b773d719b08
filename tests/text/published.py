"""Folders of tokenizers as they are published, with small vocabularies, for tests that read them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

WORDS = [
    "the", "cat", "sat", "on", "mat", "##s", "lauft", "läuft", "cafe", "café", "##e", "数", "学", "数学", ".", ",", "'",
    "[", "]", "<", ">", "mask", "chem", "a", "##a", "ibu", "##profen",
]  # fmt: skip
WORDPIECE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "<s>", "</s>"]
_MERGES = ["t h", "th e", "Ġ the", "Ġ c", "a t", "Ġc at", "i b"]
_SPECIAL = {
    "roberta": ["<s>", "<pad>", "</s>", "<unk>"],
    "deberta": ["[PAD]", "[CLS]", "[SEP]", "[UNK]"],
}
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZéäñ数.,'[]<>\"`0"
_WORD_PIECES = ["▁the", "▁cat", "▁The", "at", "he", "▁ma", "<m", "▁lauft"]
ALBERT = [
    ("<pad>", 3), ("<unk>", 2), ("[CLS]", 3), ("[SEP]", 3), ("[MASK]", 3), ("(", 4),
    *((piece, 1) for piece in ["▁", *_LETTERS, *_WORD_PIECES]),
]  # fmt: skip
DEBERTA_V2 = [
    ("[PAD]", 3), ("[CLS]", 3), ("[SEP]", 3), ("[UNK]", 2),
    *((piece, 1) for piece in ["▁", *_LETTERS, *_WORD_PIECES]),
]  # fmt: skip


def write_wordpiece(folder: Path, tokens: Iterable[str] = WORDPIECE) -> None:
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")


def write_bpe(folder: Path, special: Iterable[str], mask: str) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*special, *alphabet, *(merge.replace(" ", "") for merge in _MERGES), mask]
    ids = {entry: i for i, entry in enumerate(entries)}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(_MERGES) + "\n", encoding="utf-8")


def write_model(path: Path, pieces: Iterable[tuple[str, int]]) -> None:
    """A SentencePiece model of the Unigram kind; each piece with its type in sentencepiece_model.proto."""
    message = b""
    unk = 0
    for i, (name, kind) in enumerate(pieces):
        unk = i if kind == 2 else unk
        score = -1.0 - i / 64 if kind == 1 else 0.0
        piece = _bytes(1, name.encode()) + bytes([2 << 3 | 5]) + struct.pack("<f", score)
        message += _bytes(1, piece + (_number(3, kind) if kind != 1 else b""))
    message += _bytes(2, _number(3, 1) + _number(40, unk)) + _bytes(3, _bytes(1, b"identity"))
    path.write_bytes(message)


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def write_vocabulary(folder: Path, model_type: str) -> None:
    """The files of the family's vocabulary, without any that says something of it."""
    if model_type in ("roberta", "deberta"):
        write_bpe(folder, _SPECIAL[model_type], "<mask>" if model_type == "roberta" else "[MASK]")
    elif model_type == "albert":
        write_model(folder / "spiece.model", ALBERT)
    elif model_type == "deberta-v2":
        write_model(folder / "spm.model", DEBERTA_V2)
    else:
        write_wordpiece(folder)


def write_said(folder: Path, **files: Mapping[str, Any]) -> None:
    """JSON files by name: write_said(folder, tokenizer_config={...}, config={...})."""
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
