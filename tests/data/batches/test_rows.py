"""Rows against a plain version that lays one token after another."""

from __future__ import annotations

import dataclasses
import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.batches import rows as module
from bert_jax.data.batches.rows import assemble
from bert_jax.data.instances.index import FIRST, NEXT, SECOND, SEGMENT, Index
from bert_jax.text.tokenizer import SpecialIds

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)


@dataclasses.dataclass
class Corpus:
    """Tokens and word starts in memory; what lies beyond a run is noise."""

    tokens: np.ndarray
    words: np.ndarray
    special: SpecialIds = SPECIAL

    def gather(self, starts, lengths, width):
        return self._gather(self.tokens, starts, lengths, width).astype(np.int32)

    def gather_words(self, starts, lengths, width):
        return self._gather(self.words, starts, lengths, width)

    def _gather(self, values, starts, lengths, width):
        out = np.random.default_rng(len(starts)).integers(0, 2, (len(starts), width)).astype(values.dtype)
        for row, start, length in zip(out, starts, lengths, strict=True):
            assert 0 < length <= width
            row[:length] = values[start : start + length]
        return out


def corpus_of(count: int = 2000) -> Corpus:
    rng = np.random.default_rng(count)
    # Ids of special tokens occur as text: places decide what is special, not ids.
    return Corpus(rng.integers(0, 50, count).astype(np.uint16), rng.random(count) < 0.6)


def index_of(rows: list[list[tuple[int, int, int, int]]]) -> Index:
    segments = np.array([segment for row in rows for segment in row], SEGMENT)
    return Index(segments, np.cumsum([0, *map(len, rows)], dtype=np.int64))


def plain(corpus: Corpus, row, *, length: int, packing: int) -> dict[str, list]:
    out: dict[str, list] = {name: [] for name in ("tokens", "types", "packs", "positions", "text", "words")}
    firsts, labels, weights = [], [], []

    def put(token, kind, *, text=False, word=False):
        position = len(out["tokens"]) - firsts[-1]
        for values, value in zip(out.values(), (token, kind, len(firsts), position, text, word), strict=True):
            values.append(value)

    for start, count, role, label in row:
        kind = 1 if role == SECOND else 0
        if role == FIRST:
            firsts.append(len(out["tokens"]))
            labels.append(max(label, 0))
            weights.append(1.0 if label >= 0 else 0.0)
            put(SPECIAL.cls, kind)
        for i in range(start, start + count):
            put(int(corpus.tokens[i]), kind, text=True, word=bool(corpus.words[i]) or i == start)
        put(SPECIAL.sep, kind)
    used = len(out["tokens"])
    examples = len(firsts)
    for i in range(used, length):
        for values, value in zip(
            out.values(), (SPECIAL.pad, 0, 0, i - firsts[-1], False, False), strict=True
        ):
            values.append(value)
    missing = [0] * (packing - examples)
    return out | {
        "first": firsts + missing,
        "labels": labels + missing,
        "weights": weights + missing,
        "length": [used],
    }


NAMES = {
    "tokens": "tokens_BL",
    "types": "type_ids_BL",
    "packs": "pack_ids_BL",
    "positions": "positions_BL",
    "text": "is_text_BL",
    "words": "word_starts_BL",
    "first": "first_BP",
    "labels": "pair_labels_BP",
    "weights": "pair_weights_BP",
}


@st.composite
def drawn_rows(draw, *, length: int, packing: int, corpus_size: int):
    """Rows of up to `packing` examples of one to four segments that fit."""
    rows = []
    for _ in range(draw(st.integers(1, 5))):
        row, left = [], length
        for _ in range(draw(st.integers(1, packing))):
            if left < 3:
                break
            roles = [FIRST, *draw(st.lists(st.sampled_from((SECOND, NEXT)), max_size=3))]
            for i, role in enumerate(roles):
                most = left - (2 if role == FIRST else 1)
                if most < 1:
                    break
                count = draw(st.integers(1, most if i == 0 and draw(st.booleans()) else min(most, 9)))
                start = draw(st.integers(0, corpus_size - count))
                row.append((start, count, role, draw(st.integers(-1, 1)) if role == FIRST else -1))
                left -= count + (2 if role == FIRST else 1)
        rows.append(row)
    return rows


def assert_rows(corpus: Corpus, rows, instances: list[int], *, length: int, packing: int) -> None:
    ours = assemble(corpus, index_of(rows), np.array(instances), length=length, packing=packing, words=True)
    theirs = [plain(corpus, rows[i], length=length, packing=packing) for i in instances]
    for name, field in NAMES.items():
        np.testing.assert_array_equal(getattr(ours, field), [row[name] for row in theirs], err_msg=field)
    assert ours.lengths_B.tolist() == [row["length"][0] for row in theirs]


@settings(max_examples=120, deadline=None)
@given(st.data(), st.sampled_from([(8, 1), (30, 3), (200, 1), (200, 8)]))
def test_rows_equal_the_plain_version(data, shape):
    length, packing = shape
    corpus = corpus_of()
    rows = data.draw(drawn_rows(length=length, packing=packing, corpus_size=2000))
    instances = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    assert_rows(corpus, rows, instances, length=length, packing=packing)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 126])
def test_segments_at_the_edges_of_a_piece(count):
    rows = [[(7, count, FIRST, 1)], [(2000 - count, count, FIRST, -1)]]
    assert_rows(corpus_of(), rows, [1, 0, 1], length=128, packing=1)


def test_a_full_row_has_no_padding_and_sixteen_examples_fit():
    full = [[(i, 6, FIRST, i % 2) for i in range(16)], [(0, 126, FIRST, 0)]]
    assert_rows(corpus_of(), full, [0, 1], length=128, packing=16)


def test_a_wrong_field_would_be_seen():
    corpus = corpus_of()
    rows = [[(3, 4, FIRST, 1), (20, 5, SECOND, -1), (50, 6, FIRST, 0), (90, 3, NEXT, -1)]]
    ours = assemble(corpus, index_of(rows), np.array([0]), length=32, packing=3, words=True)
    theirs = plain(corpus, rows[0], length=32, packing=3)
    for name, field in NAMES.items():
        assert len(set(theirs[name])) > 1, f"{name} is constant: nothing is compared"
        wrong = np.roll(getattr(ours, field), 1)
        assert wrong.tolist() != [theirs[name]]


def test_types_and_shapes_are_those_of_the_batch_and_words_are_optional():
    rows = [[(3, 4, FIRST, 1)]] * 3
    ours = assemble(corpus_of(), index_of(rows), np.array([0, 2]), length=16, packing=2, words=False)
    assert ours.word_starts_BL is None
    fields = {
        name: (array.dtype.name, array.shape) for name, array in vars(ours).items() if array is not None
    }
    ints = {name: ("int32", (2, 16)) for name in ("tokens_BL", "type_ids_BL", "pack_ids_BL", "positions_BL")}
    assert fields == ints | {
        "first_BP": ("int32", (2, 2)),
        "pair_labels_BP": ("int32", (2, 2)),
        "pair_weights_BP": ("float32", (2, 2)),
        "lengths_B": ("int64", (2,)),
        "is_text_BL": ("bool", (2, 16)),
    }


def test_the_worked_example_of_the_docstring():
    assert doctest.testmod(module) == doctest.TestResults(failed=0, attempted=10)
