"""The tag of each word of a text, and the entities that the tags mark."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bert_jax.errors import UserError
from bert_jax.prediction.batches import by_length
from bert_jax.prediction.encoder import Encoder
from bert_jax.scoring.entities import Scheme, entities, scheme_of_tags
from bert_jax.text.words import cut_words


@dataclasses.dataclass(frozen=True)
class TaggedWord:
    """A word and its most probable tag. `start` and `end` are characters of the text, which is `text[start:end]`."""

    text: str
    tag: str
    probability: float
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class TaggedEntity:
    """An entity, its characters [start, end) and its words [first_word, last_word) of the text."""

    type: str
    text: str
    start: int
    end: int
    first_word: int
    last_word: int
    probability: float
    """the mean of its words'"""


@dataclasses.dataclass(frozen=True)
class TaggedText:
    text: str
    """of a sequence of words those words with a space between"""
    words: tuple[TaggedWord, ...]
    entities: tuple[TaggedEntity, ...]
    """(): there is none, or the model's tags do not mark any"""


def tag(
    model: Encoder, texts: Sequence[str | Sequence[str]], *, max_length: int = 0, stride: int = 0
) -> list[TaggedText]:
    """The tags of the words of each text. Long texts are read in windows, as in training.

    Args:
      texts: each a text, which is cut into words at white space and around punctuation, or its words.
      max_length: tokens of a window; 0: as many as the model has positions.
      stride: tokens that neighbouring windows share; 0: a third of max_length.

    Raises:
      UserError: the model has no head that reads words; max_length is more than its positions; stride is not less.
    """
    head, limit = model.config.head, model.config.max_positions
    max_length = max_length or limit
    if head.kind != "tagging":
        raise UserError(
            f"the model's task head is {head.kind!r}, must be 'tagging' to tag words: bert-jax finetune trains one"
        )
    if max_length > limit:
        raise UserError(f"max_length={max_length} must be <= {limit}, the positions of the model")
    if not 0 <= stride < max_length:
        raise UserError(f"stride={stride} must be in [0, {max_length}), the tokens of a window")
    cut = [_cut(text) for text in texts]
    words = [[text[start:end] for start, end in places] for text, places in cut]
    found = _most_probable(model, words, max_length=max_length, stride=stride)
    scheme = scheme_of_tags(head.labels)
    return [
        _tagged(text, places, [head.labels[i] for i in tags_W], probabilities_W, scheme)
        for (text, places), (tags_W, probabilities_W) in zip(cut, found, strict=True)
    ]


def _cut(text: str | Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """A text and where its words stand."""
    if isinstance(text, str):
        return text, cut_words(text)
    places, start = [], 0
    for word in text:
        places.append((start, start + len(word)))
        start += len(word) + 1
    return " ".join(text), places


def _most_probable(
    model: Encoder, sentences: Sequence[Sequence[str]], *, max_length: int, stride: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(tag [W], its probability [W]) of the words of each sentence."""
    from bert_jax.data.labelled.words import word_rows

    ids = model.tokenizer.encode_words(sentences)
    rows = list(word_rows(ids, model.tokenizer, max_length=max_length, stride=stride))
    found = [(np.zeros(len(words), np.int64), np.zeros(len(words))) for words in sentences]
    for numbers in by_length([len(row.ids_L) for row in rows]):
        part = [rows[number] for number in numbers]
        logits_BLC = model.compute([row.ids_L.tolist() for row in part]).token_logits_BLC
        assert logits_BLC is not None, "a model with such a head gives them"
        for row, logits_LC in zip(part, np.asarray(logits_BLC, np.float64), strict=True):
            tags_W, probabilities_W = found[row.sentence]
            places = np.flatnonzero(row.words_L >= 0)
            exponentials_XC = np.exp(logits_LC[places] - logits_LC[places].max(axis=1, keepdims=True))
            tags_W[row.words_L[places]] = exponentials_XC.argmax(axis=1)
            probabilities_W[row.words_L[places]] = 1 / exponentials_XC.sum(axis=1)
    return found


def _tagged(
    text: str,
    places: Sequence[tuple[int, int]],
    tags: Sequence[str],
    probabilities_W: np.ndarray,
    scheme: Scheme | None,
) -> TaggedText:
    words = tuple(
        TaggedWord(text[start:end], tag, probability, start, end)
        for (start, end), tag, probability in zip(places, tags, probabilities_W.tolist(), strict=True)
    )
    found = []
    for kind, first, last in entities(tags, scheme=scheme) if scheme else ():
        start, end = words[first].start, words[last - 1].end
        probability = float(probabilities_W[first:last].mean())
        found.append(TaggedEntity(kind, text[start:end], start, end, first, last, probability))
    return TaggedText(text, words, tuple(found))
