"""Sentences of words as features: long ones in windows, the tag of each word on its first token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from bert_jax.data.labelled.examples import TaggedExample
from bert_jax.data.labelled.features import Features
from bert_jax.errors import UserError
from bert_jax.progress import bar
from bert_jax.text.tokenizer import Tokenizer

_AT_ONCE = 4096  # sentences tokenised together
_MOST_TAGS = 20  # of which a message names some


class Window(NamedTuple):
    """The words [start, stop) of a sentence, of which [first, last) are scored here."""

    start: int
    stop: int
    first: int
    last: int


class WordRow(NamedTuple):
    """A window as the model reads it."""

    sentence: int
    ids_L: np.ndarray
    """int32, with the frame"""
    words_L: np.ndarray
    """int32: number of the word in its sentence at the first token of each that is scored here, else -1"""


def found_tags(examples: Iterable[TaggedExample]) -> tuple[str, ...]:
    """The tags of a data set, sorted."""
    return tuple(sorted(set(chain.from_iterable(example.tags or () for example in examples))))


def word_features(
    examples: Sequence[TaggedExample],
    tokenizer: Tokenizer,
    *,
    labels: Sequence[str],
    max_length: int,
    stride: int,
) -> Features:
    """Features with tags_L and words_L (int32), both -1 but at the first token of each word, in its own window.

    Args:
      stride: tokens that neighbouring windows share; 0: a third of max_length.

    Raises:
      UserError: a tag that is not one of `labels`, with its place.
    """
    number = {label: i for i, label in enumerate(labels)}
    rows: list[WordRow] = []
    tags: list[np.ndarray] = []
    words: list[np.ndarray] = []
    room = _room(tokenizer, max_length)
    before = cut = 0
    firsts = range(0, len(examples), _AT_ONCE)
    for first in bar(firsts, description="tokenising", unit="batches", delay=1.0):
        part = examples[first : first + _AT_ONCE]
        sentences = tokenizer.encode_words([example.words for example in part])
        tags_of = [_numbers(example, number) for example in part]
        starts = before + np.cumsum([0, *(len(sentence) for sentence in sentences)])
        before = int(starts[-1])
        cut += sum(any(len(word) > room for word in sentence) for sentence in sentences)
        for row in word_rows(sentences, tokenizer, max_length=max_length, stride=stride):
            is_word_L = row.words_L >= 0
            rows.append(row._replace(sentence=first + row.sentence))
            tags.append(np.where(is_word_L, tags_of[row.sentence][row.words_L], -1).astype(np.int32))
            words.append(np.where(is_word_L, starts[row.sentence] + row.words_L, -1).astype(np.int32))
    tokens_T = np.concatenate([row.ids_L for row in rows])
    return Features(
        tokens_T=tokens_T,
        type_ids_T=np.zeros(len(tokens_T), np.uint8),
        lengths_S=np.array([len(row.ids_L) for row in rows], np.int32),
        examples_S=np.array([row.sentence for row in rows], np.int32),
        of_tokens={"tags_L": np.concatenate(tags), "words_L": np.concatenate(words)},
        cut=cut,
    )


def word_rows(
    sentences: Sequence[Sequence[Sequence[int]]], tokenizer: Tokenizer, *, max_length: int, stride: int
) -> Iterator[WordRow]:
    """The windows of each sentence, given as the ids of its words, with the tokenizer's frame; none of no words.

    A word that is longer than a window loses its end.

    Args:
      stride: as in `word_features`.

    Raises:
      UserError: max_length has no room for a token.
    """
    room = _room(tokenizer, max_length)
    before, after = tokenizer.frame
    for number, sentence in enumerate(sentences):
        words = [word[:room] for word in sentence]
        sizes = [len(word) for word in words]
        for window in cut_windows(sizes, room=room, overlap=stride or max_length // 3):
            inside = range(window.start, window.stop)
            ids = [*before, *chain.from_iterable(words[word] for word in inside), *after]
            words_L = np.full(len(ids), -1, np.int32)
            places = len(before) + np.cumsum([0, *sizes[window.start : window.stop - 1]])
            own = slice(window.first - window.start, window.last - window.start)
            words_L[places[own]] = np.arange(window.first, window.last)
            yield WordRow(number, np.array(ids, np.int32), words_L)


def cut_windows(sizes: Sequence[int], *, room: int, overlap: int) -> list[Window]:
    """Windows of up to `room` tokens over words of `sizes` tokens, none of more than `room`, cut between words.

    A window shares its first words with the one before it: as many as `overlap` tokens hold, and fewer where the
    word after those would find no room. A word is scored in the window where it has most context on its shorter
    side, in tokens, and in the first of several (the "max context" of Devlin et al. 2019's run_squad.py). As a window
    gains context to the left and loses it to the right from word to word, its own words lie together; a window
    without any is left out.
    """
    if not sizes:
        return []
    ends_W = np.cumsum(sizes)
    starts_W = ends_W - sizes
    spans: list[tuple[int, int]] = []
    best_W = np.full(len(sizes), -1)
    owners_W = np.zeros(len(sizes), np.int64)
    start = stop = 0
    while stop < len(sizes):
        if spans:
            least = max(ends_W[stop - 1] - overlap, ends_W[stop] - room)  # the first token it may begin at
            start = max(start + 1, int(np.searchsorted(starts_W, least)))
        stop = int(np.searchsorted(ends_W, starts_W[start] + room, side="right"))
        inside = slice(start, stop)
        context_W = np.minimum(starts_W[inside] - starts_W[start], ends_W[stop - 1] - ends_W[inside])
        owners_W[inside] = np.where(context_W > best_W[inside], len(spans), owners_W[inside])
        best_W[inside] = np.maximum(context_W, best_W[inside])
        spans.append((start, stop))
    borders = np.searchsorted(owners_W, np.arange(len(spans) + 1)).tolist()
    windows = [Window(*span, *borders[number : number + 2]) for number, span in enumerate(spans)]
    return [window for window in windows if window.first < window.last]


def _room(tokenizer: Tokenizer, max_length: int) -> int:
    """Tokens of words in a sequence of max_length."""
    room = max_length - sum(map(len, tokenizer.frame))
    if room < 1:
        raise UserError(f"max_length={max_length} must be > {max_length - room}, the tokens around each text")
    return room


def _numbers(example: TaggedExample, number: dict[str, int]) -> np.ndarray:
    """The class of each word."""
    tags = example.tags or ()
    for place, tag in enumerate(tags):
        if tag not in number:
            shown = ", ".join(list(number)[:_MOST_TAGS]) + (", ..." if len(number) > _MOST_TAGS else "")
            raise UserError(
                f"{example.place}: tag {tag!r} of word {place + 1}, {example.words[place]!r}, must be one of the task's"
                f" tags: {shown}: name all by config.task.labels"
            )
    return np.array([number[tag] for tag in tags], np.int32)
