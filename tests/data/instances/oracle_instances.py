"""A second version of the instance indexes: one example at a time, on lists of tokens, nothing vectorised.

A corpus is a list of documents, a document a list of sentence lengths. A token is its number in the corpus.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from bert_jax.config import DataConfig
from bert_jax.data.random import Purpose

FIRST, SECOND, NEXT = 0, 1, 2
Segment = tuple[list[int], int, int]
"""Tokens, role, label."""
Example = list[Segment]


def bits(*numbers: int) -> int:
    """The 64 bits that belong to a chain of numbers."""
    state = 0
    for number in numbers:
        state = bits_of(state, number)
    return state


def bits_of(key: int, number: int) -> int:
    """Output `number` of SplitMix64 from the state `key`."""
    z = (key + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def uniform(*numbers: int) -> float:
    return (bits(*numbers) >> 11) / 2**53


def below(count: int, *numbers: int) -> int:
    return int(uniform(*numbers) * count)


def coin(key: tuple[int, ...], purpose: int, toss: int) -> bool:
    return bool(bits(*key, purpose + 64 * (toss // 64)) >> (toss % 64) & 1)


def joined(sentences: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(sentences))


class Oracle:
    """The examples of the documents numbered `chosen`."""

    def __init__(self, corpus: list[list[int]], chosen: list[int], data: DataConfig, seed: int, weights=None):
        self.data, self.seed = data, seed
        self.pair = data.format in ("segment_pair", "sentence_pair")
        self.longest = data.sequence_length - (3 if self.pair else 2)
        numbers = itertools.count()
        self.sentences = [[list(itertools.islice(numbers, n)) for n in lengths] for lengths in corpus]
        self.tickets: list[int] = []
        for document in chosen:
            weight = weights[document] if weights else 1
            extra = uniform(seed, document, Purpose.VISIT) < weight - int(weight)
            self.tickets += [document] * (int(weight) + extra)
        copies = {document: self.tickets.count(document) for document in self.tickets}
        most = max(copies.values(), default=0)
        self.visits = [(d, r) for r in range(most) for d in copies if copies[d] > r]

    def pieces(self, sentences: list[list[int]]) -> list[list[int]]:
        return [ids[at : at + self.longest] for ids in sentences for at in range(0, len(ids), self.longest)]

    def target(self, visit: tuple[int, int], number: int) -> int:
        number = 0 if "short_per_document" in self.data.quirks else number
        key = (self.seed, *visit, number)
        if uniform(*key, Purpose.SHORT) < self.data.short_sequence_probability:
            return 2 + below(self.longest - 1, *key, Purpose.LENGTH)
        return self.longest

    def examples(self) -> list[Example]:
        if self.data.format == "full_sentences":
            return list(self.full_sentences())
        of_document = self.pairs if self.pair else self.doc_sentences
        return [example for visit in self.visits for example in of_document(visit)]

    def doc_sentences(self, visit) -> Iterator[Example]:
        pieces = self.pieces(self.sentences[visit[0]])
        at = 0
        while at < len(pieces):
            target, end = self.target(visit, at), at + 1
            while end < len(pieces) and len(joined(pieces[at : end + 1])) <= target:
                end += 1
            yield [(joined(pieces[at:end]), FIRST, -1)]
            at = end

    def full_sentences(self) -> Iterator[Example]:
        row: list[list[int]] = []  # tokens of each document in the row
        target = slots = 0
        for visit in self.visits:
            new = True
            for number, ids in enumerate(self.pieces(self.sentences[visit[0]])):
                if row and slots + new + len(ids) > target:
                    yield [(ids_, NEXT if n else FIRST, -1) for n, ids_ in enumerate(row)]
                    row = []
                if not row:
                    target, slots = self.target(visit, number), len(ids)
                    row = [list(ids)]
                elif new:
                    slots += 1 + len(ids)
                    row.append(list(ids))
                else:
                    slots += len(ids)
                    row[-1] += ids
                new = False
        if row:
            yield [(ids_, NEXT if n else FIRST, -1) for n, ids_ in enumerate(row)]

    def pairs(self, visit) -> Iterator[Example]:
        data, objective = self.data, self.data.sentence_objective
        pieces = self.pieces(self.sentences[visit[0]])
        whole = data.boundaries == "whole" and data.format == "segment_pair"
        backward = whole and objective == "sop" and uniform(self.seed, *visit, Purpose.BACKWARD) < 0.5
        if backward:
            pieces = pieces[::-1]
        lone_is_random = "lone_is_random" in data.quirks and objective != "none"
        at = 0
        while at < len(pieces):
            key = (self.seed, *visit, at)
            target = self.target(visit, at)
            size = self.chunk_size(pieces[at:], target, fewest=1 if lone_is_random else 2)
            chunk = pieces[at : at + size]
            if size == 1 and not lone_is_random:
                yield [(chunk[0], FIRST, -1)]
                at += 1
                continue
            a_end = 1
            if data.format == "segment_pair" and size > 1:
                a_end = 1 + below(size - 1, *key, Purpose.SPLIT)
            a, b = chunk[:a_end], chunk[a_end:]
            if backward and size > 1:
                a, b = b[::-1], a[::-1]
            a_ids, b_ids = joined(a), joined(b)
            tails = size > 1 and uniform(*key, Purpose.COIN) < 0.5
            label = -1 if objective == "none" else int(tails or size == 1)
            if size == 1 or (objective == "nsp" and tails):
                b_ids = self.elsewhere(key, visit[0], target - len(a_ids), whole)
                at += a_end
            else:
                if objective == "sop" and tails:
                    a_ids, b_ids = b_ids, a_ids
                at += size
            a_ids, b_ids = self.truncated(a_ids, b_ids, key)
            yield [(a_ids, FIRST, label), (b_ids, SECOND, -1)]

    def chunk_size(self, pieces: list[list[int]], target: int, *, fewest: int) -> int:
        if self.data.format == "sentence_pair":
            return min(2, len(pieces))
        size = 1
        if self.data.boundaries == "whole":
            while size < len(pieces) and len(joined(pieces[: size + 1])) <= target:
                size += 1
        else:
            while size < len(pieces) and len(joined(pieces[:size])) < target:
                size += 1
        return min(max(size, fewest), len(pieces))

    def elsewhere(self, key, document: int, wanted: int, whole: bool) -> list[int]:
        if "ten_draws" in self.data.quirks:
            for attempt in range(10):
                other = self.tickets[below(len(self.tickets), *key, Purpose.DOCUMENT + attempt)]
                if other != document:
                    break
        else:
            others = [ticket for ticket in self.tickets if ticket != document]
            other = others[below(len(others), *key, Purpose.DOCUMENT)]
        sentences = self.sentences[other]
        pieces = self.pieces(sentences[below(len(sentences), *key, Purpose.SENTENCE) :])
        if self.data.format == "sentence_pair":
            return pieces[0]
        ids: list[int] = []
        for piece in pieces:
            if ids and (len(ids) + len(piece) > wanted if whole else len(ids) >= wanted):
                break
            ids += piece
        return ids

    def truncated(self, a: list[int], b: list[int], key) -> tuple[list[int], list[int]]:
        a, b = list(a), list(b)
        cut = {Purpose.FRONT_A: 0, Purpose.FRONT_B: 0}
        while len(a) + len(b) > self.longest:
            longer, purpose = (a, Purpose.FRONT_A) if len(a) > len(b) else (b, Purpose.FRONT_B)
            longer.pop(0 if coin(key, purpose, cut[purpose]) else -1)
            cut[purpose] += 1
        return a, b


def slots(example: Example) -> int:
    return 1 + sum(len(ids) + 1 for ids, _, _ in example)


def best_fit(lengths: list[int], capacity: int, depth: int) -> list[list[int]]:
    """Places in `lengths` (longest first) that share a row. Among rows as full, the last that changed."""
    rows: list[list[int]] = []  # least recently changed first

    def free(row: list[int]) -> int:
        return capacity - sum(lengths[place] for place in row)

    for place, length in enumerate(lengths):
        fitting = [row for row in rows if len(row) < depth and free(row) >= length]
        best = min(reversed(fitting), key=free, default=[])
        if best:
            rows = [row for row in rows if row is not best]
        rows.append([*best, place])
    return rows
