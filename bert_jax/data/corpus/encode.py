"""The documents of a block as ids: each distinct chunk is encoded once, then ids are gathered."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from bert_jax.data.corpus import stage_files
from bert_jax.data.corpus.dedup import Kept
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer

_CHECKED_SENTENCES = 20


@dataclasses.dataclass(frozen=True)
class Encoded:
    """The kept documents of one block, for `ShardWriter.add`. Sentences without a token are left out."""

    ids: np.ndarray
    word_starts: np.ndarray
    sentences: np.ndarray
    """Tokens in each sentence."""
    documents: np.ndarray
    """Sentences in each document."""
    counts: dict[str, int]

    def save(self, path: Path) -> None:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["word_starts"] = np.packbits(self.word_starts)
        stage_files.save(path, fields)

    @classmethod
    def load(cls, path: Path) -> Encoded:
        fields = stage_files.load(path, [field.name for field in dataclasses.fields(cls)])
        bits = np.unpackbits(fields["word_starts"], count=len(fields["ids"])).view(bool)
        return cls(**fields | {"word_starts": bits})


class ChunkEncoder:
    """Encodes chunks, and keeps the tokens of those it has encoded: half of a block's occur in earlier blocks."""

    def __init__(self, tokenizer: Tokenizer, *, most: int = 2**19):
        self.tokenizer = tokenizer
        self.ids, self.word_starts = np.zeros(0, np.uint32), np.zeros(0, bool)
        self._most = most
        self._known: dict[str, int] = {}
        self._first = self._lengths = np.zeros(0, np.int64)

    def __call__(self, chunks: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """The first token of each chunk in `ids` and `word_starts`, and how many it has: int64, int64."""
        places = self._look_up(chunks)
        if len(self._known) > self._most and (places < 0).any():
            self._forget()
            places = self._look_up(chunks)
        unknown = [chunks[at] for at in np.flatnonzero(places < 0)]
        if unknown:
            encoded = self.tokenizer.encode_chunks(unknown)
            begin = len(self.ids) + np.cumsum(encoded.lengths) - encoded.lengths
            self._known.update(
                zip(unknown, range(len(self._known), len(self._known) + len(unknown)), strict=True)
            )
            self._first = np.concatenate([self._first, begin])
            self._lengths = np.concatenate([self._lengths, encoded.lengths])
            self.ids = np.concatenate([self.ids, encoded.ids])
            self.word_starts = np.concatenate([self.word_starts, encoded.word_starts])
            places = self._look_up(chunks)
        return self._first[places], self._lengths[places]

    def _look_up(self, chunks: list[str]) -> np.ndarray:
        return np.fromiter(map(self._known.get, chunks, itertools.repeat(-1)), np.int64, len(chunks))

    def _forget(self) -> None:
        self._known.clear()
        self._first, self._lengths = self._first[:0], self._lengths[:0]
        self.ids, self.word_starts = self.ids[:0], self.word_starts[:0]


def encode(chunks: list[str], kept: Kept, encoder: ChunkEncoder, *, name: str) -> Encoded:
    """Encodes what is kept of a block whose distinct chunks are `chunks`; `name` is that of the vocabulary.

    Raises:
      UserError: the vocabulary does not encode a line as its chunks one by one.
    """
    tokenizer = encoder.tokenizer
    _check(chunks, kept, tokenizer, name)
    first, lengths = encoder(chunks)
    lengths = lengths[kept.numbers]
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    source = np.repeat(first[kept.numbers] - (ends - lengths), lengths) + np.arange(total)
    ids = encoder.ids[source]
    of_sentence = np.repeat(np.arange(len(kept.sentences)), kept.sentences)
    sentences = np.bincount(of_sentence, lengths, len(kept.sentences)).astype(np.int64)
    document_of = np.repeat(np.arange(len(kept.documents)), kept.documents)
    documents = np.bincount(document_of, sentences > 0, len(kept.documents)).astype(np.int64)
    return Encoded(
        ids=ids.astype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32),
        word_starts=encoder.word_starts[source],
        sentences=sentences[sentences > 0],
        documents=documents[documents > 0],
        counts={
            "unknown": int(np.count_nonzero(ids == tokenizer.special.unk)),
            "empty_documents": int(np.count_nonzero(documents == 0)),
        },
    )


def _check(chunks: list[str], kept: Kept, tokenizer: Tokenizer, name: str) -> None:
    """Encodes the first sentences whole: the ids must be those of their chunks.

    Sentences from which normalisation removes whole words (an accent alone) are left out: byte-level BPE joins the
    spaces that remain.
    """
    normalizer = tokenizer.backend.normalizer
    ends = np.cumsum(kept.sentences[:_CHECKED_SENTENCES])
    for start, end in zip(ends - kept.sentences[: len(ends)], ends, strict=True):
        pieces = [chunks[number] for number in kept.numbers[start:end]]
        text = "".join(pieces)
        normalized = normalizer.normalize_str(text) if normalizer else text
        if "  " in normalized or normalized.endswith(" "):
            continue
        if tokenizer.encode(text) != tokenizer.encode_chunks(pieces).ids.tolist():
            raise UserError(
                f"config.tokenizer.path={name!r}: encodes {text[:60]!r} otherwise than word by word; load a vocabulary"
                " whose tokens do not cross a space"
            )
