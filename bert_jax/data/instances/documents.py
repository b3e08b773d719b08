"""The text of a split as the index builders read it: documents in order, cut into pieces that fit a row.

A piece is a sentence, or a part of one that is too long for a row. A visit is one reading of a document.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from bert_jax.config import DataConfig
from bert_jax.data.random import Purpose, below, fold, root, uniform

if TYPE_CHECKING:
    from bert_jax.data.corpus.shards import TokenShards

# Consecutive tokens. `start`: the first one, counted over the whole corpus.
SEGMENT = np.dtype([("start", "<i8"), ("length", "<i4"), ("role", "i1"), ("label", "i1")])
FIRST, SECOND, NEXT = 0, 1, 2
"""Roles: begins an example; segment B; text of the next document in the same example."""

_GROUP = 2**18
"""Sentences whose arrays are in memory at once; a longer document is a group of its own."""
_WINDOW = 2**15
"""Chunks decided at once: their arrays fit in the cache of a core."""


@dataclasses.dataclass(frozen=True)
class Pieces:
    """The n pieces of some visits, in reading order."""

    starts: np.ndarray
    """First token of each piece, counted over the whole corpus: int64 [n]."""
    lengths: np.ndarray
    """Tokens of each piece: int64 [n]."""
    begins: np.ndarray
    """Whether the piece is the first of its visit: bool [n]."""
    numbers: np.ndarray
    """Number of the piece in its visit, from 0: int64 [n]."""
    keys: np.ndarray
    """Key of the visit: uint64 [n]."""
    ranks: np.ndarray
    """Index of the document in `DocumentOrder.documents`: int64 [n]."""
    backward: np.ndarray
    """Whether the visit's pieces are here from its last to its first: bool [n]."""

    def __len__(self) -> int:
        return len(self.starts)

    @functools.cached_property
    def offsets(self) -> np.ndarray:
        """Tokens before each piece, and in all: int64 [n + 1]."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """Last + 1 piece of each piece's visit: int64 [n]."""
        firsts = np.flatnonzero(self.begins)
        ends = np.append(firsts[1:], len(self))
        return np.repeat(ends, ends - firsts)

    def chunk_keys(self, at: np.ndarray) -> np.ndarray:
        """Keys of the chunks that begin at pieces `at`: uint64 [len(at)]."""
        return fold(self.keys[at], self.numbers[at])

    def targets(self, at: np.ndarray, longest: int, data: DataConfig) -> np.ndarray:
        """Wanted tokens of the chunks that begin at `at`: `longest`, or sometimes uniform in 2 ... longest.

        Drawn for each chunk; with the quirk short_per_document once for a visit, as in
        `create_pretraining_data.py`.
        """
        once = "short_per_document" in data.quirks
        keys = fold(self.keys[at], 0) if once else self.chunk_keys(at)
        short = np.flatnonzero(uniform(keys, Purpose.SHORT) < data.short_sequence_probability)
        targets = np.full(len(at), longest, np.int64)
        targets[short] = 2 + below(keys[short], Purpose.LENGTH, longest - 1)
        return targets

    def segment(self, first: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(first token, length) of pieces `first` to `end` - 1 of one visit."""
        earliest = np.where(self.backward[first], end - 1, first)
        return self.starts[earliest], self.offsets[end] - self.offsets[first]

    def tail(self, first: int) -> Pieces:
        """The pieces from `first` on."""
        return Pieces(*(getattr(self, field.name)[first:] for field in dataclasses.fields(self)))

    def followed_by(self, other: Pieces) -> Pieces:
        """These pieces, then the others."""
        names = [field.name for field in dataclasses.fields(self)]
        return Pieces(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


class DocumentOrder:
    """The visits of a split in order: every document once, then every document that is read twice, and so on.

    A document of a source with weight w is read floor(w) times and once more with probability w - floor(w).
    Each visit has random numbers of its own, keyed by (seed, document, repetition).
    """

    def __init__(
        self,
        shards: TokenShards,
        documents: np.ndarray,
        *,
        longest: int,
        seed: int,
        weights: np.ndarray | None = None,
        either_way: bool = False,
    ):
        """Decides the order.

        Args:
          documents: sorted numbers. longest: tokens of a piece, at most. weights: one per document; None: all 1.
          either_way: a fair coin decides whether a visit is read from its end.
        """
        self._seed_key = root(seed)
        copies = np.ones(len(documents), np.int32)
        if weights is not None:
            more = uniform(self._keys_of(documents), Purpose.VISIT) < weights % 1
            copies = np.floor(weights).astype(np.int32) + more
        self.documents = documents[copies > 0]
        """Numbers of the documents that are read at least once, sorted."""
        self._copies = copies[copies > 0]
        self._before = np.cumsum(self._copies) - self._copies if weights is not None else None
        self._sentences, self._bounds = np.asarray(shards.sentence_starts), np.asarray(shards.document_starts)
        self._longest, self._either_way = longest, either_way
        rounds = range(int(self._copies.max(initial=0)))
        order = [np.flatnonzero(self._copies > repetition) for repetition in rounds]
        self._order = np.concatenate([np.zeros(0, np.int64), *order])
        self._round_starts = np.cumsum([0, *map(len, order)])
        self._ends = np.cumsum(self._size(self._order))

    def __len__(self) -> int:
        return len(self._order)

    @property
    def sentences(self) -> int:
        """Sentences of all visits."""
        return int(self._ends[-1]) if len(self) else 0

    def pieces(self, progress: Callable[[int], object] = lambda sentences: None) -> Iterator[Pieces]:
        """All visits, some at a time; `progress` is called with their sentences once they have been used."""
        first = before = 0
        while first < len(self):
            last = max(int(np.searchsorted(self._ends, before + _GROUP, "right")), first + 1)
            yield self._pieces(first, last)
            progress(int(self._ends[last - 1]) - before)
            first, before = last, int(self._ends[last - 1])

    def others(self, keys: np.ndarray, ranks: np.ndarray, *, ten_draws: bool) -> np.ndarray:
        """The document of a random visit for each key, never of the document with that rank: int64 [keys].

        ten_draws: drawn from all visits, up to ten times while it is the same document (BERT's code).
        """
        if not ten_draws:
            draw = below(keys, Purpose.DOCUMENT, len(self) - self._copies[ranks])
            before = ranks if self._before is None else self._before[ranks]
            draw += np.where(draw >= before, self._copies[ranks], 0)
            return self.documents[self._owner(draw)]
        owner = self._owner(below(keys, Purpose.DOCUMENT, len(self)))
        for attempt in range(1, 10):
            same = np.flatnonzero(owner == ranks)
            owner[same] = self._owner(below(keys[same], Purpose.DOCUMENT + attempt, len(self)))
        return self.documents[owner]

    def sentence_of(self, keys: np.ndarray, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A random sentence of each document: (its number, the document's last + 1 sentence)."""
        first, last = self._bounds[documents], self._bounds[documents + 1]
        return first + below(keys, Purpose.SENTENCE, last - first), last

    def first_piece(self, sentence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(first token, length) of the first piece of each sentence."""
        start = self._sentences[sentence]
        return start, np.minimum(self._sentences[sentence + 1] - start, self._longest)

    def gather(
        self, sentence: np.ndarray, last: np.ndarray, wanted: np.ndarray, *, whole: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """(first token, length) of pieces from `sentence` on, before sentence `last`, and at least one.

        Until there are >= `wanted` tokens; whole: as many as fit in `wanted`.
        """
        start, shortest = self.first_piece(sentence)
        at = np.minimum(start + np.maximum(wanted, shortest if whole else 1), self._sentences[last])
        # The sentence that holds token `at` - 1 (or, whole, `at`), and the pieces' ends inside it.
        holder = np.searchsorted(self._sentences, at, "right" if whole else "left") - 1
        within = at - self._sentences[holder]
        if whole:
            return start, self._sentences[holder] + within // self._longest * self._longest - start
        end = self._sentences[holder] + -(-within // self._longest) * self._longest
        return start, np.minimum(end, self._sentences[holder + 1]) - start

    def _keys_of(self, documents: np.ndarray) -> np.ndarray:
        return fold(self._seed_key, documents)

    def _owner(self, visits: np.ndarray) -> np.ndarray:
        """Ranks of the documents of these visits, which are counted document by document."""
        if self._before is None:
            return visits
        return np.searchsorted(self._before, visits, "right") - 1

    def _size(self, ranks: np.ndarray) -> np.ndarray:
        """Sentences of the documents of these ranks."""
        documents = self.documents[ranks]
        return self._bounds[documents + 1] - self._bounds[documents]

    def _pieces(self, first: int, last: int) -> Pieces:
        """Visits `first` to `last` - 1 as pieces."""
        ranks = self._order[first:last]
        repetitions = np.searchsorted(self._round_starts, np.arange(first, last), "right") - 1
        keys = fold(self._keys_of(self.documents[ranks]), repetitions)
        sentence = ranges(self._bounds[self.documents[ranks]], self._size(ranks))
        start = self._sentences[sentence]
        length = self._sentences[sentence + 1] - start
        pieces = -(-length // self._longest)
        total = np.cumsum(pieces)
        visit_end = total[np.cumsum(self._size(ranks)) - 1]
        of_visit = np.diff(visit_end, prepend=0)
        order = ranges(np.zeros(len(pieces), np.int64), pieces)
        skipped = order * self._longest
        visit_begin = visit_end - of_visit
        begins = np.zeros(int(total[-1]), bool)
        begins[visit_begin] = True
        starts = np.repeat(start, pieces) + skipped
        lengths = np.minimum(np.repeat(length, pieces) - skipped, self._longest)
        backward = np.zeros(len(begins), bool)
        if self._either_way:
            backward = np.repeat(uniform(keys, Purpose.BACKWARD) < 0.5, of_visit)
            place = np.arange(len(begins))
            place = np.where(backward, np.repeat(visit_begin + visit_end - 1, of_visit) - place, place)
            starts, lengths = starts[place], lengths[place]
        return Pieces(
            starts=starts,
            lengths=lengths,
            begins=begins,
            numbers=np.arange(len(begins)) - np.repeat(visit_begin, of_visit),
            keys=np.repeat(keys, of_visit),
            ranks=np.repeat(ranks, of_visit),
            backward=backward,
        )


def chunk_starts(following: Callable[[np.ndarray], np.ndarray], count: int) -> np.ndarray:
    """0, following(0), following(following(0)), ... below `count`: int64.

    Random numbers are keyed by where a chunk begins, so `following` is known for every piece at once, and only this
    walk is sequential.
    """
    firsts: list[int] = []
    at = 0
    while at < count:
        low, high = at, min(at + _WINDOW, count)
        table = following(np.arange(low, high)).tolist()
        while at < high:
            firsts.append(at)
            at = table[at - low]
    return np.array(firsts, np.int64)


def ranges(firsts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """firsts[0], firsts[0] + 1, ... (counts[0] of them), then those from firsts[1], and so on: int64."""
    ends = np.cumsum(counts)
    return np.repeat(firsts - (ends - counts), counts) + np.arange(int(ends[-1]) if len(ends) else 0)
