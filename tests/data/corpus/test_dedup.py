"""Duplicates and boilerplate, against a plain reading of the rules."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.config import CleaningConfig, DataConfig
from bert_jax.data.corpus import dedup
from bert_jax.data.corpus.clean import clean
from bert_jax.data.corpus.dedup import mark_first, select, shared_lines
from bert_jax.data.sources.blocks import ValuesBlock

_HASHES = st.integers(0, 5).map(lambda n: n * (2**64 // 6) + 7)  # few, over the whole range
_BLOCKS = st.lists(st.lists(_HASHES, max_size=8), max_size=5)


@pytest.fixture(params=[3, 2**21], ids=["many partitions", "one"])
def partitions(request, monkeypatch):
    monkeypatch.setattr(dedup, "_PARTITION", request.param)


def first_of_each(hashes: list[int]) -> list[bool]:
    seen: set[int] = set()
    return [not (h in seen or seen.add(h)) for h in hashes]


@pytest.mark.usefixtures("partitions")
def test_the_first_of_equal_documents_is_marked(tmp_path_factory):
    @settings(max_examples=60, deadline=None)
    @given(_BLOCKS)
    def check(blocks):
        folder = tmp_path_factory.mktemp("hashes")
        kept = np.ones(sum(map(len, blocks)), bool)
        mark_first((np.array(block, np.uint64) for block in blocks), kept, folder)
        assert kept.tolist() == first_of_each([h for block in blocks for h in block])
        assert list(folder.iterdir()) == []

    check()


@pytest.mark.usefixtures("partitions")
def test_lines_are_shared_by_distinct_documents(tmp_path_factory):
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.lists(st.lists(_HASHES, max_size=5), max_size=4), max_size=4), st.integers(1, 4))
    def check(blocks, least):
        pairs, document = [], 0
        counts: Counter[int] = Counter()
        for block in blocks:
            hashes = [h for lines in block for h in lines]
            documents = [document + d for d, lines in enumerate(block) for _ in lines]
            document += len(block)
            pairs.append((np.array(hashes, np.uint64), np.array(documents, np.int64)))
            for lines in block:
                counts.update(set(lines))
        found = shared_lines(
            iter(pairs),
            total=sum(len(hashes) for hashes, _ in pairs),
            documents=least,
            folder=tmp_path_factory.mktemp("hashes"),
        )
        assert found.dtype == np.uint64
        assert found.tolist() == sorted(h for h, n in counts.items() if n >= least)

    check()


_LINES = ["a", "b c", "the footer.", "do it. Ed"]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_selecting_is_dropping_lines_then_documents(data):
    documents = data.draw(st.lists(st.lists(st.sampled_from(_LINES), min_size=1, max_size=4), max_size=5))
    kept = data.draw(st.lists(st.booleans(), min_size=len(documents), max_size=len(documents)))
    bad = data.draw(st.sets(st.sampled_from(_LINES)))
    least = data.draw(st.sampled_from([0, 3, 12]))
    cleaning = CleaningConfig(boilerplate_documents=2)
    values = tuple("\n".join(lines).encode() for lines in documents)
    block = ValuesBlock(source=0, input=0, number=0, name="x", first=0, values=values)
    cleaned = clean(block, DataConfig(path="x"), cleaning)
    hashes = {
        line: int(h)
        for line, h in zip((line for lines in documents for line in lines), cleaned.line_hashes, strict=True)
    }
    boilerplate = np.array(sorted(hashes[line] for line in bad if line in hashes), np.uint64)
    found = select(cleaned, np.array(kept, bool), boilerplate, min_characters=least)

    left = [
        [line for line in lines if line not in bad]
        for lines, keep in zip(documents, kept, strict=True)
        if keep
    ]
    long = [lines for lines in left if sum(map(len, lines)) >= max(least, 1)]
    text = "".join(line for lines in long for line in lines)
    assert "".join(cleaned.chunks[number] for number in found.numbers) == text
    sentences = {"a": [1], "b c": [2], "the footer.": [2], "do it. Ed": [2, 1]}
    assert found.sentences.tolist() == [n for lines in long for line in lines for n in sentences[line]]
    assert found.documents.tolist() == [sum(len(sentences[line]) for line in lines) for lines in long]
    dropped = sum(line in bad for lines, keep in zip(documents, kept, strict=True) if keep for line in lines)
    assert found.counts == {
        "characters": len(text),
        "duplicate_documents": kept.count(False),
        "boilerplate_lines": dropped,
        "short_documents": len(left) - len(long),
    }
