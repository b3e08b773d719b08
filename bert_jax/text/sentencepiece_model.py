"""A SentencePiece .model of the Unigram kind as a tokenizer of the `tokenizers` library.

The file is one Protocol Buffers message, read here: the `sentencepiece` package's own reader needs a newer protobuf
than apache-beam allows.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken, models, normalizers

from bert_jax.errors import UserError
from bert_jax.text import kinds

_UNIGRAM = 1  # TrainerSpec.ModelType
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5  # SentencePiece.Type


class Piece(NamedTuple):
    """An entry of the vocabulary; `type` is of SentencePiece.Type."""

    name: str
    score: float
    type: int


class Model(NamedTuple):
    """The fields of a ModelProto that are read."""

    pieces: list[Piece]
    is_unigram: bool  # and splits at white space and marks the beginnings of words
    byte_fallback: bool
    charsmap: bytes  # of the normaliser
    unk: int  # the unknown piece's id

    def added(self) -> list[AddedToken]:
        """Control symbols, which are special, and user-defined ones, in order of their ids."""
        return [
            AddedToken(piece.name, normalized=False, special=piece.type == _CONTROL)
            for piece in self.pieces
            if piece.type in (_CONTROL, _USER_DEFINED)
        ]


def read(path: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a .model alone, with SentencePiece's own ids for words separated by single spaces.

    A [MASK] is added after the last entry where the model has none, as in DeBERTa-v3.

    Raises:
      UserError: the file is not a SentencePiece model, or not of the Unigram kind.
    """
    model = read_model(path)
    pieces = [(p.name, kinds.NEVER if p.type == _UNUSED else p.score) for p in model.pieces]
    backend = tokenizers.Tokenizer(
        models.Unigram(pieces, unk_id=model.unk, byte_fallback=model.byte_fallback)
    )
    if model.charsmap:
        backend.normalizer = normalizers.Precompiled(model.charsmap)
    kinds.unigram_words(backend)
    usual = {name for names in kinds.NAMES.values() for name in names}
    special = [p.name for p in model.pieces if p.type in (_UNKNOWN, _CONTROL) or p.name in usual]
    backend.add_special_tokens(special)
    backend.add_tokens([p.name for p in model.pieces if p.type == _USER_DEFINED and p.name not in usual])
    if not set(kinds.NAMES["mask"]).intersection(special):
        backend.add_special_tokens(["[MASK]"])
    entries = backend.get_vocab()
    cls, sep = (next((t for t in kinds.NAMES[role] if t in entries), None) for role in ("cls", "sep"))
    if cls is not None and sep is not None:
        kinds.frame_as_bert(backend, cls=cls, sep=sep)
    return backend


def read_model(path: Path) -> Model:
    """The fields of a .model that decide ids.

    Raises:
      UserError: the file is not a SentencePiece model, or not of the Unigram kind.
    """
    try:
        model = parse(path.read_bytes())
    except (ValueError, IndexError, KeyError, TypeError, struct.error, StopIteration) as error:
        raise UserError(f"{path}: not a vocabulary that can be read: not a SentencePiece model") from error
    if not model.is_unigram:
        raise UserError(
            f"{path}: must be a SentencePiece model of the unigram kind that splits at spaces and marks the"
            " beginning of words; save this one as tokenizer.json with transformers, and name that file"
        )
    return model


# ---------------------------------------------------------------------------------------------
# Protocol Buffers
# ---------------------------------------------------------------------------------------------


def parse(message: bytes) -> Model:
    """The fields of a ModelProto that decide ids; numbers and defaults as in sentencepiece_model.proto.

    Raises:
      ValueError, IndexError, KeyError, TypeError, StopIteration, struct.error: the message is not a ModelProto.
    """
    pieces = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _fields(message):
        if number == 1:
            piece = dict(_fields(value))
            (score,) = struct.unpack("<f", piece.get(2, bytes(4)))
            if not math.isfinite(score):
                raise ValueError(f"a piece has the score {score}")
            pieces.append(Piece(piece[1].decode(), score, piece.get(3, _NORMAL)))
        elif number == 2:
            trainer = dict(_fields(value))
        elif number == 3:
            normalizer = dict(_fields(value))
    splits, marks_ends = trainer.get(22, 1), trainer.get(24, 0)
    marks_beginnings = normalizer.get(3, 1) and normalizer.get(5, 1)
    return Model(
        pieces,
        is_unigram=bool(
            trainer.get(3, _UNIGRAM) == _UNIGRAM and splits and not marks_ends and marks_beginnings
        ),
        byte_fallback=bool(trainer.get(35, 0)),
        charsmap=normalizer.get(2, b""),
        unk=next(i for i, piece in enumerate(pieces) if piece.type == _UNKNOWN),
    )


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field: int for a varint, bytes for the other wire types."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire_type = key & 7
        if wire_type == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire_type == 2:
            size, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}[wire_type]
        if at + size > len(message):
            raise ValueError("a field reaches beyond the end")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):  # 64 bits at most
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 64 bits")
