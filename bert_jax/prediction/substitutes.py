"""Words that may stand for a word of a text, as a masked language model proposes them (Jiao et al. 2020, algorithm 1).

A word of one token is masked, and the MLM head gives the most probable words in its place. As in the released code of
TinyBERT the model reads the masked text and the original one as a pair, [CLS] masked [SEP] original [SEP], so that it
keeps to what the text says; a model without two segment types, or a pair that is longer than its positions, has the
masked text alone, of a longer one the tokens around the mask.

A word of several tokens has no single place to predict. The paper takes the nearest words by GloVe; here a word's vector
is the mean of its tokens' rows of the model's own token table, and the nearest words are those of the greatest cosine.

Substitutes are entries of the vocabulary that are whole words of letters. The word itself may be among them, as it is in
the released code.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from bert_jax.errors import UserError
from bert_jax.models.inference import Inference, padded_length, padded_rows
from bert_jax.prediction.augment import Word
from bert_jax.prediction.batches import by_length
from bert_jax.text.stop_words import STOP_WORDS
from bert_jax.text.tokenizer import Spans, Tokenizer
from bert_jax.text.words import cut_words

CANDIDATES = 15
"""M of TinyBERT's released code."""
_WORDS = 256  # whose cosines with the whole vocabulary are in memory at once


class _Place(NamedTuple):
    """The tokens [first, stop) of a text that are one word."""

    text: int
    start: int
    end: int
    first: int
    stop: int


class Substitutes:
    """A model that proposes words.

    Args:
      count: M, how many it proposes for a word, at most.

    Raises:
      UserError: the model has no MLM head; the vocabulary has no whole word; a count below 1.
    """

    def __init__(self, model: Inference, tokenizer: Tokenizer, *, count: int = CANDIDATES):
        if "mlm" not in model.heads:
            raise UserError(
                "the model has no masked-language-model head, which proposes the words: name a pretrained model, not a"
                " fine-tuned one"
            )
        if count < 1:
            raise UserError(f"candidates={count} must be >= 1")
        self._words = tokenizer.whole_words()
        if not self._words:
            raise UserError("the model's vocabulary has no whole word that could replace another")
        self._model, self._tokenizer = model, tokenizer
        self._ids_W = np.array(list(self._words), np.int32)
        self._count = min(count, len(self._ids_W))

    def of_texts(self, texts: Sequence[str]) -> list[list[Word]]:
        """The words of each text that can be replaced, in order: those of letters that are no English stop words."""
        tokens = self._tokenizer.encode_spans(texts)
        places = [
            place
            for number, (text, spans) in enumerate(zip(texts, tokens, strict=True))
            for place in _places(number, text, spans.spans_T2)
        ]
        found_NK = np.empty((len(places), self._count), np.int32)
        is_one_N = np.array([place.stop - place.first == 1 for place in places], bool)
        single, several = np.flatnonzero(is_one_N), np.flatnonzero(~is_one_N)
        found_NK[single] = self._predicted(tokens, [places[number] for number in single])
        pieces = [
            tuple(tokens[p.text].ids[p.first : p.stop].tolist()) for p in map(places.__getitem__, several)
        ]
        found_NK[several] = self._nearest(pieces)
        words: list[list[Word]] = [[] for _ in texts]
        for place, ids_K in zip(
            places, np.sort(found_NK).tolist(), strict=True
        ):  # sorted: rounding cannot swap two
            original = texts[place.text][place.start : place.end]
            substitutes = dict.fromkeys(_capitalised(self._words[i], original) for i in ids_K)
            words[place.text].append(Word(place.start, place.end, tuple(substitutes)))
        return words

    def _predicted(self, tokens: Sequence[Spans], places: Sequence[_Place]) -> np.ndarray:
        """The most probable words in place of words of one token: int32 [N, K]."""
        found_NK = np.empty((len(places), self._count), np.int32)
        sizes = [self._size(len(tokens[place.text].ids)) for place in places]
        for numbers in by_length(sizes):
            forms = [self._form(tokens[places[n].text].ids, places[n].first) for n in numbers]
            found_BK = self._model.most_probable(*self._batch(forms), ids_W=self._ids_W, count=self._count)
            found_NK[numbers] = np.asarray(found_BK)[: len(numbers)]
        return found_NK

    def _size(self, tokens: int) -> int:
        """Tokens of the model's input for a text of so many."""
        around = sum(map(len, self._tokenizer.frame))
        pair = 2 * tokens + around + len(self._tokenizer.frame[1])
        config = self._model.config
        if config.type_vocab_size >= 2 and pair <= config.max_positions:
            return pair
        return min(tokens + around, config.max_positions)

    def _form(self, ids_T: np.ndarray, place: int) -> tuple[np.ndarray, int, int]:
        """(the model's input, its tokens of the first segment, the position of the mask)."""
        before, after = self._tokenizer.frame
        size, alone = self._size(len(ids_T)), len(before) + len(ids_T) + len(after)
        first = 0
        masked_T = ids_T.copy()
        masked_T[place] = self._tokenizer.special.mask
        if size < alone:
            room = size - len(before) - len(after)
            first = min(max(place - room // 2, 0), len(ids_T) - room)
            masked_T = masked_T[first : first + room]
        form = [*before, *masked_T.tolist(), *after]
        if size > alone:
            form += [*ids_T.tolist(), *after]
        return np.array(form, np.int32), min(size, alone), len(before) + place - first

    def _batch(self, forms: Sequence[tuple[np.ndarray, int, int]]) -> tuple[np.ndarray, ...]:
        """Tokens, types and mask [B, L] and masked positions [B, 1], padded to shapes that many batches have."""
        longest = max(len(ids) for ids, _, _ in forms)
        shape = padded_rows(len(forms)), padded_length(longest, self._model.config.max_positions)
        tokens_BL = np.full(shape, self._tokenizer.special.pad, np.int32)
        types_BL, mask_BL = np.zeros(shape, np.int32), np.zeros(shape, bool)
        masked_B1 = np.zeros((shape[0], 1), np.int32)
        for row, (ids, first_segment, masked) in enumerate(forms):
            tokens_BL[row, : len(ids)] = ids
            types_BL[row, first_segment : len(ids)] = 1
            mask_BL[row, : len(ids)] = True
            masked_B1[row] = masked
        return tokens_BL, types_BL, mask_BL, masked_B1

    def _nearest(self, words: Sequence[tuple[int, ...]]) -> np.ndarray:
        """The words nearest to words of several tokens: int32 [N, K]."""
        numbers = {pieces: number for number, pieces in enumerate(dict.fromkeys(words))}
        distinct = list(numbers)
        found_XK = np.empty((len(distinct), self._count), np.int32)
        for first in range(0, len(distinct), _WORDS):
            part = distinct[first : first + _WORDS]
            vectors_XE = np.stack([self._table_VE[list(pieces)].mean(0) for pieces in part])
            cosines_XW = _units(vectors_XE) @ self._units_WE.T
            best_XK = np.argpartition(-cosines_XW, self._count - 1, axis=1)[:, : self._count]
            found_XK[first : first + len(part)] = self._ids_W[best_XK]
        return found_XK[[numbers[pieces] for pieces in words]]

    @functools.cached_property
    def _table_VE(self) -> np.ndarray:
        """The token table, which the MLM head's output has too."""
        params: Any = self._model.params
        return np.asarray(params["bert"]["embeddings"]["token"], np.float32)

    @functools.cached_property
    def _units_WE(self) -> np.ndarray:
        return _units(self._table_VE[self._ids_W])


def _places(number: int, text: str, spans_T2: np.ndarray) -> Iterator[_Place]:
    """The words of a text that can be replaced and are whole tokens."""
    starts_T, ends_T = spans_T2[:, 0], spans_T2[:, 1]
    for start, end in cut_words(text):
        word = text[start:end]
        if not word.isalpha() or word.lower() in STOP_WORDS:
            continue
        first, stop = np.searchsorted(starts_T, [start, end]).tolist()
        while first < stop and ends_T[first] <= start:  # white space that is a token, cut to nothing
            first += 1
        begins_here = first < stop and starts_T[first] == start and (first == 0 or ends_T[first - 1] <= start)
        if begins_here and ends_T[stop - 1] == end:
            yield _Place(number, start, end, first, stop)


def _capitalised(substitute: str, word: str) -> str:
    """The substitute with the capitals of the word, where the vocabulary has it in lower case."""
    if not substitute.islower() or not word[0].isupper():
        return substitute
    return substitute.upper() if len(word) > 1 and word.isupper() else substitute[0].upper() + substitute[1:]


def _units(vectors_XE: np.ndarray) -> np.ndarray:
    units_XE: np.ndarray = vectors_XE / np.maximum(np.linalg.norm(vectors_XE, axis=1, keepdims=True), 1e-12)
    return units_XE
