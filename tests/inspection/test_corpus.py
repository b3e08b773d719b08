"""Figures of corpora and rows against plain computations and known answers."""

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bert_jax.data.instances.index import FIRST, NEXT, SECOND, SEGMENT, Index
from bert_jax.inspection import corpus as report


class FakeShards:
    """A corpus in lists: documents of sentences of (id, begins a word)."""

    folder = Path("corpus")

    def __init__(self, documents, *, vocab_size, sources):
        self.documents = documents
        self.tokens = [token for document in documents for sentence in document for token in sentence]
        sentences = [len(sentence) for document in documents for sentence in document]
        self.sentence_starts = np.cumsum([0, *sentences])
        self.document_starts = np.cumsum([0, *map(len, documents)])
        self.vocab_size = vocab_size
        self.manifest = {
            "counts": {"characters": 1000, "unknown": 3},
            "sources": [{"name": name, "documents": count} for name, count in sources],
        }

    def _runs(self, starts, lengths, width, part):
        out = np.full((len(starts), width), 999_999)
        for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            out[row, :length] = [token[part] for token in self.tokens[start : start + length]]
        return out

    def gather(self, starts, lengths, width):
        return self._runs(starts, lengths, width, 0)

    def gather_words(self, starts, lengths, width):
        return self._runs(starts, lengths, width, 1) == 1


@pytest.fixture(scope="module")
def shards():
    rng = random.Random(1)

    def sentence():
        length = rng.choice([1, 3, 10, 63, 64, 65, 200])
        return [(rng.randrange(5, 90), int(rng.random() < 0.7)) for _ in range(length)]

    documents = [[sentence() for _ in range(rng.randint(1, 6))] for _ in range(40)]
    return FakeShards(documents, vocab_size=100, sources=[("a.txt", 30), ("empty.txt", 0), ("b.txt", 10)])


@pytest.mark.parametrize(("count", "at_most"), [(5, 10), (10, 10), (1000, 300), (10**9, 2_000_000), (7, 3)])
def test_a_sample_is_even_and_no_larger_than_asked(count, at_most):
    runs = report.sample(count, at_most)
    sizes = [run.stop - run.start for run in runs]
    assert len(set(sizes)) == 1
    assert min(count, at_most) * 0.8 < sum(sizes) <= at_most
    assert all(a.stop <= b.start for a, b in zip(runs, runs[1:], strict=False))
    assert runs[0].start == 0 and runs[-1].stop == count


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("values", [[5], [1, 1, 1], list(range(1, 500)), [1] * 1000 + [100_000]])
def test_a_distribution_counts_every_value_once(values, scale):
    found = report.distribution(np.array(values), scale=scale)
    assert (found["measured"], found["min"], found["max"]) == (len(values), min(values), max(values))
    assert found["mean"] == pytest.approx(sum(values) / len(values))
    assert found["quantiles"]["0.5"] == pytest.approx(float(np.median(values)))
    edges = found["edges"]
    assert found["counts"] == [
        sum(a <= v < b for v in values) for a, b in zip(edges, edges[1:], strict=False)
    ]
    assert sum(found["counts"]) == len(values)
    assert len(edges) < 65


def test_no_values_have_no_distribution():
    assert report.distribution(np.array([], int)) == {}


def test_the_error_of_a_share_is_that_of_its_rows():
    coins = np.array([1, 0, 1, 1] * 25)
    found = report.ratio(coins, np.ones(100))
    assert found == {"share": 0.75, "error": pytest.approx(math.sqrt(0.75 * 0.25 / 100))}
    # Ten tokens a row that share one fate say no more than one.
    assert report.ratio(10 * coins, np.full(100, 10)) == {
        "share": 0.75,
        "error": pytest.approx(found["error"]),
    }
    assert report.ratio(np.zeros(3), np.zeros(3)) == {"share": None, "error": None}


def test_a_corpus_is_described_as_a_plain_count_does(shards):
    ordinary = np.arange(5, 95)
    found = report.describe_corpus(shards, ordinary)
    ids = Counter(token for token, _ in shards.tokens)
    assert found["vocabulary"] == {
        "entries": 100,
        "usable": 90,
        "never_used": sum(ids[i] == 0 for i in range(5, 95)),
        "tokens": len(shards.tokens),
        "words": sum(begins for _, begins in shards.tokens),
    }
    sentences = [len(sentence) for document in shards.documents for sentence in document]
    documents = [sum(map(len, document)) for document in shards.documents]
    assert (found["sentences"], found["documents"], found["tokens"]) == (len(sentences), 40, sum(sentences))
    assert found["sentence_tokens"]["mean"] == pytest.approx(np.mean(sentences))
    assert found["document_tokens"]["max"] == max(documents)
    assert [(s["name"], s["documents"], s["tokens"]) for s in found["sources"]] == [
        ("a.txt", 30, sum(documents[:30])),
        ("empty.txt", 0, 0),
        ("b.txt", 10, sum(documents[30:])),
    ]
    assert (found["characters"], found["unknown"]) == (1000, 3)


def test_a_large_corpus_is_sampled(shards, monkeypatch):
    monkeypatch.setattr(report, "AT_MOST", 20)
    found = report.describe_corpus(shards, np.arange(5, 95))
    assert found["sentence_tokens"]["measured"] == found["document_tokens"]["measured"] == 20
    assert found["vocabulary"]["tokens"] < found["tokens"] == len(shards.tokens)


def test_a_split_has_the_tokens_of_its_documents(shards):
    numbers = np.array([0, 7, 39])
    tokens = sum(len(sentence) for number in numbers for sentence in shards.documents[number])
    assert report.describe_split(shards, numbers) == {"documents": 3, "tokens": tokens}


def make_index(rows):
    """rows: lists of (length, role, label)."""
    segments = [(0, *segment) for row in rows for segment in row]
    return Index(np.array(segments, SEGMENT), np.cumsum([0, *map(len, rows)]))


ROWS = [
    [(10, FIRST, 1), (5, SECOND, -1)],  # 18 tokens
    [(3, FIRST, 0), (2, SECOND, -1), (6, FIRST, -1), (1, NEXT, -1)],  # 8 + 10
    [(30, FIRST, -1)],  # 32
    [(4, FIRST, 0), (4, SECOND, -1)],  # 11
]


def test_rows_are_described_with_their_special_tokens():
    found = report.describe_rows(make_index(ROWS), length=32)
    assert (found["rows"], found["fill"]) == (4, pytest.approx((18 + 18 + 32 + 11) / (4 * 32)))
    assert (found["row_tokens"]["min"], found["row_tokens"]["max"]) == (11, 32)
    assert found["example_tokens"]["mean"] == pytest.approx((18 + 8 + 10 + 32 + 11) / 5)
    assert found["examples_a_row"]["mean"] == pytest.approx(5 / 4)
    assert found["labels"] == {
        "one": 1,
        "zero": 2,
        "none": 2,
        "share": pytest.approx(1 / 3),
        "error": pytest.approx(math.sqrt(2 / 9 / 3)),
    }


def test_sampled_rows_are_described_alike(monkeypatch):
    monkeypatch.setattr(report, "AT_MOST", 100)
    found = report.describe_rows(make_index(ROWS * 100), length=32)
    assert found["rows"] == 400
    assert found["row_tokens"]["measured"] == 100
    assert found["row_tokens"]["min"] >= 11 and found["row_tokens"]["max"] <= 32
