"""Text to ids and back: a subword vocabulary, trained or loaded, over the `tokenizers` library."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers

from bert_jax.config import TokenizerConfig
from bert_jax.errors import UserError
from bert_jax.text import files, folder, kinds, vocabulary

_WORD_BEGINS = ("\u0120", "\u2581")
"""How entries of byte-level BPE and of SentencePiece write the space before a word."""


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """Ids of the tokens that carry structure."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


class Chunks(NamedTuple):
    """The T tokens of many chunks, one after the other."""

    ids: np.ndarray  # uint32 [T]
    lengths: np.ndarray  # int64, tokens of each chunk
    word_starts: np.ndarray  # bool [T]


class Window(NamedTuple):
    """A question with a part of its context, framed as the model takes a pair: L tokens."""

    ids: np.ndarray  # int32 [L]
    type_ids: np.ndarray  # uint8 [L]
    spans_L2: np.ndarray  # int32, the token's characters of the whole context; -1 of tokens of the question


class Spans(NamedTuple):
    """The T tokens of a text, without frame."""

    ids: np.ndarray  # int32 [T]
    spans_T2: (
        np.ndarray
    )  # int32, each token's characters [start, end) of the text, without the space before a word


class Tokenizer:
    """A subword vocabulary: text to ids and back.

    names: the token of each role ("pad", "unk", "cls", "sep", "mask"); by default the usual tokens, "[CLS]" or "<s>"
      and so on.

    Raises:
      UserError: a role has no token.
    """

    def __init__(self, backend: tokenizers.Tokenizer, names: Mapping[str, str] | None = None):
        self.backend = backend
        entries = backend.get_vocab()
        self._plain: tokenizers.Tokenizer | None = None
        self.names = files.roles(entries, names or {})
        missing = [kinds.NAMES[role][0] for role in kinds.NAMES if role not in self.names]
        if missing:
            raise UserError(f"the vocabulary lacks the special tokens {', '.join(missing)}")
        self.special = SpecialIds(**{role: entries[token] for role, token in self.names.items()})
        # From ids, not entries: the embedding table includes the last id even where numbers are missing.
        self.vocab_size = max(entries.values()) + 1

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of `text`; see `encode_batch`."""
        return self.encode_batch([text], special=special)[0]

    def encode_batch(self, texts: list[str], *, special: bool = False) -> list[list[int]]:
        """Ids of each text, over all cores.

        special: put [CLS] and [SEP] around each text, and read a "[MASK]" in it as the token. Otherwise
        such words are ordinary text: a corpus that mentions "[SEP]" must not get structure from it.
        """
        if special:
            self.backend.encode_special_tokens = False
            backend = self.backend
        else:
            backend = self._for_plain_text()
        return [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=special)]

    def encode_chunks(self, chunks: list[str]) -> Chunks:
        """Ids of each chunk of a line, a "[MASK]" in it being text, and which of them begin a word.

        A word is what the tokenizer's own pre-tokenizer cuts out: "don't" is three for WordPiece.
        """
        encodings = self._for_plain_text().encode_batch(chunks, add_special_tokens=False)
        ids = [e.ids for e in encodings]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        count = int(lengths.sum())
        flat = np.fromiter(chain.from_iterable(ids), np.uint32, count)
        # Added tokens that are not special are outside of all words: each is a word of its own.
        words = (-1 if word is None else word for e in encodings for word in e.word_ids)
        word_ids = np.fromiter(words, np.int64, count)
        starts = np.ones(count, bool)
        starts[1:] = (word_ids[1:] != word_ids[:-1]) | (word_ids[1:] < 0)
        first = np.cumsum(lengths)[:-1]
        starts[first[first < count]] = True
        return Chunks(flat, lengths, starts)

    def _for_plain_text(self) -> tokenizers.Tokenizer:
        if self._plain is None or self._plain is self.backend:
            self._plain = kinds.for_plain_text(self.backend)
        return self._plain

    def ordinary_ids(self) -> np.ndarray:
        """Ids of the entries that are neither special nor unused, ascending."""
        special = {
            token.content for token in self.backend.get_added_tokens_decoder().values() if token.special
        }
        special.update([*self.names.values(), ""])  # a blank line of vocab.txt is no token of a text
        entries = self.backend.get_vocab().items()
        kept = [i for token, i in entries if token not in special and not kinds.UNUSED.fullmatch(token)]
        return np.array(sorted(kept), np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        return self.backend.decode(list(ids), skip_special_tokens=False)

    def readable(self, index: int) -> str:
        """A token as it reads in text: "the" for "Ġthe" and "▁the"; one that is not text alone by its own name."""
        return self.decode([index]).strip() or self.token(index)

    def token(self, index: int) -> str:
        """An entry's own name."""
        return self.backend.id_to_token(index) or f"[{index}]"

    def save(self, folder: Path, *, max_length: int | None = None) -> None:
        """Writes what `load` and `transformers` read.

        tokenizer.json and tokenizer_config.json, and besides, for WordPiece, vocab.txt, or for BPE,
        vocab.json and merges.txt.

        max_length: tokens of the model's longest input, for `transformers`.
        """
        files.write(folder, self.backend, self.names, max_length=max_length)

    def encode_texts(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, max_length: int
    ) -> list[tokenizers.Encoding]:
        """Each text, or text and partner, framed as the model takes it and cut to `max_length` tokens.

        Of a pair the longer text loses its end, token by token (BERT's code). A "[SEP]" in a text is read as the token.
        """
        inputs: list[Any] = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        self.backend.encode_special_tokens = False
        self.backend.enable_truncation(max_length, strategy="longest_first")
        try:
            return self.backend.encode_batch_fast(inputs)
        finally:
            self.backend.no_truncation()

    def encode_words(self, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Ids of each word of each sentence, without frame; words are read apart, whatever is in them.

        As `transformers` reads them (is_split_into_words=True): for byte-level BPE a word has a space before it
        (add_prefix_space=True). A word that has no token, such as a control character, is
        [UNK], so that every word has one. A "[SEP]" in a word is read as the token.
        """
        self.backend.encode_special_tokens = False
        given = [[self._inside_text(word) for word in words] for words in sentences]
        encodings = self.backend.encode_batch(given, is_pretokenized=True, add_special_tokens=False)
        found: list[list[list[int]]] = []
        for encoding, words in zip(encodings, sentences, strict=True):
            ids: list[list[int]] = [[] for _ in words]
            for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
                if word is not None:  # the type's other value is that of a frame
                    ids[word].append(token)
            found.append([word or [self.special.unk] for word in ids])
        return found

    @functools.cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """Ids of the special tokens before and after a single text, such as those of [CLS] and of [SEP]."""
        encoding = self.backend.encode(self.names["unk"])
        text = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        return encoding.ids[: text[0]], encoding.ids[text[-1] + 1 :]

    def _inside_text(self, word: str) -> str:
        """The word as it stands in a text, for `encode_words`."""
        if not self._needs_space or word.startswith(" ") or word in self._added:
            return word
        return f" {word}"

    @functools.cached_property
    def _needs_space(self) -> bool:
        """Whether the space before a word belongs to it and is not added by the tokenizer itself."""
        step = json.loads(self.backend.to_str())["pre_tokenizer"] or {}
        steps = step.get("pretokenizers", [step])
        return any(one.get("type") == "ByteLevel" and not one["add_prefix_space"] for one in steps)

    @functools.cached_property
    def _added(self) -> frozenset[str]:
        return frozenset(token.content for token in self.backend.get_added_tokens_decoder().values())

    def encode_windows(
        self, questions: Sequence[str], contexts: Sequence[str], *, max_length: int, stride: int
    ) -> list[list[Window]]:
        """Each question with every window of its context in turn.

        A window has `max_length` tokens at most, and of the context `stride` tokens in common with the next. A "[SEP]" in
        a text is read as the token.

        Raises:
          UserError: a question that leaves a window no more than `stride` tokens of its context.
        """
        self.backend.encode_special_tokens = False
        special = self.backend.num_special_tokens_to_add(is_pair=True)
        alone = self.backend.encode_batch_fast(list(questions), add_special_tokens=False)
        for question, encoding in zip(questions, alone, strict=True):
            if len(encoding.ids) + special + stride >= max_length:
                raise UserError(
                    f"{question!r}: the {len(encoding.ids)} tokens of the question, {special} special ones and"
                    f" stride={stride} must be < max_length={max_length}, or its context has no room"
                )
        self.backend.enable_truncation(max_length, stride=stride, strategy="only_second")
        try:
            pairs = self.backend.encode_batch(list(zip(questions, contexts, strict=True)))
        finally:
            self.backend.no_truncation()
        return [[_window(encoding) for encoding in (first, *first.overflowing)] for first in pairs]

    def encode_spans(self, texts: Sequence[str]) -> list[Spans]:
        """The tokens of each text and where they stand. A "[SEP]" in a text is read as the token."""
        self.backend.encode_special_tokens = False
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        return [_spans(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]

    def whole_words(self) -> dict[int, str]:
        """Id -> word, as it reads in a text, of the ordinary entries that are a whole word of letters; ids ascend.

        Of WordPiece entries without "##", of others those that begin with the space before a word.
        """
        model = self.backend.model
        is_wordpiece = isinstance(model, tokenizers.models.WordPiece)
        mark = model.continuing_subword_prefix if is_wordpiece else _WORD_BEGINS
        found = {}
        for index in self.ordinary_ids().tolist():
            if self.token(index).startswith(mark) != is_wordpiece:
                word = self.decode([index]).strip()
                if word.isalpha():
                    found[index] = word
        return found

    def cut_texts(self, texts: Sequence[str], *, tokens: int) -> list[str]:
        """Each text up to the end of its last token of the first `tokens`; one that has no more, as it is."""
        self.backend.encode_special_tokens = False
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        return [
            text[: encoding.offsets[tokens - 1][1]] if len(encoding.ids) > tokens else text
            for text, encoding in zip(texts, encodings, strict=True)
        ]


def _spans(text: str, encoding: tokenizers.Encoding) -> Spans:
    spans_T2 = np.array(encoding.offsets, np.int32).reshape(-1, 2)
    for span in spans_T2:
        while span[0] < span[1] and text[span[0]].isspace():
            span[0] += 1
    return Spans(np.array(encoding.ids, np.int32), spans_T2)


def _window(encoding: tokenizers.Encoding) -> Window:
    spans_L2 = np.full((len(encoding.ids), 2), -1, np.int32)
    of_text = encoding.sequence_ids  # 0: the question, 1: the context, None: special
    if count := of_text.count(1):
        first = of_text.index(1)
        spans_L2[first : first + count] = encoding.offsets[first : first + count]
    return Window(np.array(encoding.ids, np.int32), np.array(encoding.type_ids, np.uint8), spans_L2)


def train(counts: Mapping[str, int], config: TokenizerConfig) -> Tokenizer:
    """A tokenizer of exactly `config.vocab_size` entries for a corpus of these chunks: see `vocabulary.learn`.

    Raises:
      ConfigError: `vocab_size` is too small for the special tokens and the alphabet.
    """
    return Tokenizer(vocabulary.learn(counts, config), kinds.SPECIAL[config.kind])


def load(path: str | Path, *, lowercase: bool | None = True) -> Tokenizer:
    """The tokenizer at `path`: see `folder.read`.

    Raises:
      UserError: there is no such file, it cannot be read, or special tokens are missing.
    """
    backend, names = folder.read(Path(path), lowercase=lowercase)
    try:
        return Tokenizer(backend, names)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
