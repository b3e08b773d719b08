"""The files of a vocabulary, whatever their form: vocab.txt, vocab.json with merges.txt, a .model, tokenizer.json."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import AddedToken, models, processors

from bert_jax.errors import UserError
from bert_jax.text import kinds, sentencepiece_model

_MOST_IDS = 2**22
"""Far beyond any vocabulary: an embedding table has a row for each number below the last id."""


class Vocabulary(NamedTuple):
    """The vocabulary of a file, whatever its form."""

    file: Path
    model: str
    """WordPiece, BPE or Unigram"""
    ids: dict[str, int]
    pieces: Sequence[tuple[str, float]] = ()
    """Unigram: each with its score"""
    merges: Sequence[tuple[str, str]] = ()
    """BPE"""
    unk: int | None = None
    """the unknown piece's id in a SentencePiece model"""
    charsmap: bytes = b""
    """Unigram: of SentencePiece's normaliser"""
    symbols: Sequence[AddedToken] = ()
    """control and user-defined symbols of a SentencePiece model"""
    frame: processors.PostProcessor | None = None
    """what tokenizer.json puts around a text"""


def read(file: Path) -> Vocabulary:
    """Of vocab.txt, whatever its name, of vocab.json with merges.txt, or of a SentencePiece .model.

    Raises:
      UserError: half of a pair is missing; a .model that cannot be read.
      Exception: the `tokenizers` library cannot read the file.
    """
    if file.suffix == ".model":
        model = sentencepiece_model.read_model(file)
        pieces = [(piece.name, piece.score) for piece in model.pieces]
        return Vocabulary(
            file, "Unigram", _numbered(pieces), pieces,
            unk=model.unk, charsmap=model.charsmap, symbols=model.added(),
        )  # fmt: skip
    if file.name in ("vocab.json", "merges.txt"):
        for name in ("vocab.json", "merges.txt"):
            if not (file.parent / name).is_file():
                raise UserError(
                    f"{file.parent}: vocab.json and merges.txt belong together, and {name} is missing; add it"
                )
        ids, merges = models.BPE.read_file(str(file.parent / "vocab.json"), str(file.parent / "merges.txt"))
        return Vocabulary(file, "BPE", ids, merges=merges)
    return Vocabulary(file, "WordPiece", without_gaps(models.WordPiece.read_file(str(file))))


def without_gaps(ids: dict[str, int]) -> dict[str, int]:
    """With names for the lines that a later, equal line hides: an id is a line's number, whatever is on the others.

    Raises:
      ValueError: an id that no vocabulary reaches.
    """
    check_ids(ids)
    free = set(range(max(ids.values(), default=-1) + 1)) - set(ids.values())
    unused = (name for name in kinds.unused("wordpiece", len(ids) + len(free)) if name not in ids)
    return ids | dict(zip(unused, sorted(free), strict=False))


def check_ids(ids: Mapping[str, int]) -> None:
    """Raises `ValueError` where an id is beyond any vocabulary."""
    last = max(ids.values(), default=-1)
    if last >= _MOST_IDS:
        raise ValueError(f"id {last} must be < {_MOST_IDS}")


def _numbered(pieces: list[tuple[str, float]]) -> dict[str, int]:
    return {piece: i for i, (piece, _) in enumerate(pieces)}


def from_json(file: Path, raw: Mapping[str, Any], frame: processors.PostProcessor | None) -> Vocabulary:
    """Of the content of a tokenizer.json.

    Raises:
      KeyError, TypeError, ValueError: it has no such content.
    """
    model = raw["model"]
    vocab = model["vocab"]
    if isinstance(vocab, list):
        pieces = [(str(piece), float(score)) for piece, score in vocab]
        charsmap = next(
            (
                step["precompiled_charsmap"]
                for step in steps(raw["normalizer"])
                if step["type"] == "Precompiled"
            ),
            "",
        )
        return Vocabulary(
            file, "Unigram", _numbered(pieces), pieces, charsmap=base64.b64decode(charsmap or ""), frame=frame
        )
    if "merges" not in model:
        return Vocabulary(file, model.get("type", "WordPiece"), without_gaps(vocab), frame=frame)
    pairs: Iterable[Sequence[str]] = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
    merges = [(first, second) for first, second in pairs]
    return Vocabulary(file, "BPE", vocab, merges=merges, frame=frame)


def steps(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The steps of a normalizer or a pre-tokenizer of tokenizer.json."""
    if part is None:
        return []
    if part["type"] == "Sequence":
        return [
            step for inner in part.get("normalizers", part.get("pretokenizers", [])) for step in steps(inner)
        ]
    return [part]
