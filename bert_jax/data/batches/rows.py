"""Rows of a batch from the index, before masking.

A row holds 1 to P examples, each [CLS] A [SEP], [CLS] A [SEP] B [SEP] or longer. The index says which tokens each
segment is, and every field is filled for the whole batch at once, at a cost that hardly depends on the number of
segments. Axis letters as in `bert_jax.batch`, and S: the segments of the batch, E: its examples.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from bert_jax.data.corpus.windows import cut_windows
from bert_jax.data.instances.index import FIRST, SECOND, Index
from bert_jax.text.tokenizer import SpecialIds

_WINDOW = 64  # tokens read together: short segments waste little, long ones need few windows


class Tokens(Protocol):
    """What rows need of `bert_jax.data.corpus.shards.TokenShards`."""

    @property
    def special(self) -> SpecialIds: ...
    def gather(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray: ...
    def gather_words(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Rows:
    """Unmasked rows: fields of `bert_jax.batch`, and what masking needs besides.

    lengths_B: tokens that are not padding. is_text_BL: neither special nor padding. word_starts_BL: where words
    begin, if asked for; the first token of a segment begins a word even if the word was cut.
    """

    tokens_BL: np.ndarray
    type_ids_BL: np.ndarray
    pack_ids_BL: np.ndarray
    positions_BL: np.ndarray
    first_BP: np.ndarray
    pair_labels_BP: np.ndarray
    pair_weights_BP: np.ndarray
    lengths_B: np.ndarray
    is_text_BL: np.ndarray
    word_starts_BL: np.ndarray | None


def assemble(
    shards: Tokens, index: Index, instance_B: np.ndarray, *, length: int, packing: int, words: bool
) -> Rows:
    """The rows `instance_B` of `index`, padded to `length`, with at most `packing` examples each.

    `words` asks for `word_starts_BL`. Positions count on through the padding after the last example.
    """
    at = _Layout(index, instance_B, length)
    rows, special = len(instance_B), shards.special
    used_BL = np.arange(length) < at.lengths_B[:, None]
    is_text = used_BL.ravel().copy()
    tokens = np.full(rows * length, special.pad, np.int32)
    for slots, token in ((at.cls_E, special.cls), (at.sep_S, special.sep)):
        is_text[slots] = False
        tokens[slots] = token
    windows = cut_windows(at.segments["start"], at.segments["length"], width=_WINDOW)
    tokens[is_text] = windows.read(shards.gather)
    word_starts = None
    if words:
        word_starts = np.zeros(rows * length, bool)
        word_starts[is_text] = windows.read(shards.gather_words)
        word_starts[at.text_S] = True

    def per_slot(values_S: np.ndarray) -> np.ndarray:
        return np.repeat(values_S.astype(np.int32), at.span_S).reshape(rows, length)

    def per_example(values_E: np.ndarray, dtype: type) -> np.ndarray:
        values_BP: np.ndarray = np.zeros((rows, packing), dtype)
        values_BP[at.row_S[at.opens_S], at.example_S[at.opens_S] - 1] = values_E
        return values_BP

    label_E = at.segments["label"][at.opens_S]
    return Rows(
        tokens_BL=tokens.reshape(rows, length),
        type_ids_BL=per_slot(at.segments["role"] == SECOND) * used_BL,
        pack_ids_BL=per_slot(at.example_S) * used_BL,
        positions_BL=np.arange(rows * length, dtype=np.int32).reshape(rows, length) - per_slot(at.cls_S),
        first_BP=per_example(at.cls_E % length, np.int32),
        pair_labels_BP=per_example(np.maximum(label_E, 0), np.int32),
        pair_weights_BP=per_example(label_E >= 0, np.float32),
        lengths_B=at.lengths_B,
        is_text_BL=is_text.reshape(rows, length),
        word_starts_BL=None if word_starts is None else word_starts.reshape(rows, length),
    )


class _Layout:
    """Where the segments of a batch are. Slots are numbered over the whole batch: row * L + position.

    The batch is rows 1 and 0 of an index, with L = 12. Row 0 of the index is one example of two segments, [CLS] A [SEP]
    B [SEP]; row 1 is two examples of one segment each, [CLS] A [SEP] [CLS] A [SEP]:

    >>> from bert_jax.data.instances.index import SEGMENT
    >>> segments = [(10, 3, FIRST, 1), (40, 2, SECOND, -1), (70, 4, FIRST, -1), (90, 1, FIRST, -1)]
    >>> index = Index(np.array(segments, SEGMENT), np.array([0, 2, 4]))
    >>> at = _Layout(index, np.array([1, 0]), 12)
    >>> at.segments["start"]  # of row 1 of the index, then of row 0
    array([70, 90, 10, 40])
    >>> at.row_S, at.example_S  # the row of the batch, and the example in it, from 1
    (array([0, 0, 1, 1]), array([1, 2, 1, 1]))
    >>> at.lengths_B  # 1 + 4 + 1 + 1 + 1 + 1 and 1 + 3 + 1 + 2 + 1
    array([9, 8])
    >>> at.text_S, at.sep_S  # the first token, and the [SEP] after the last
    (array([ 1,  7, 13, 17]), array([ 5,  8, 16, 19]))
    >>> at.cls_E, at.cls_S  # of each example; of the example of each segment
    (array([ 0,  6, 12]), array([ 0,  6, 12, 12]))
    >>> at.span_S  # slots up to the next segment, padding included: 24 in all
    array([6, 6, 5, 7])
    """

    def __init__(self, index: Index, instance_B: np.ndarray, length: int):
        first_B, last_B = index.rows[instance_B], index.rows[instance_B + 1]
        count_B = last_B - first_B  # segments of each row
        end_B = np.cumsum(count_B)
        begin_B = end_B - count_B
        self.row_S = np.repeat(np.arange(len(instance_B)), count_B)
        self.segments = index.segments[np.arange(end_B[-1]) + np.repeat(first_B - begin_B, count_B)]
        self.opens_S = self.segments["role"] == FIRST  # an example, so [CLS] is before it

        length_S = self.segments["length"].astype(np.int64)
        slots_S = self.opens_S + length_S + 1  # [CLS], text, [SEP]
        self.lengths_B = np.add.reduceat(slots_S, begin_B)
        padding_B = length - self.lengths_B
        padding_before_B = np.cumsum(padding_B) - padding_B
        self.sep_S = np.cumsum(slots_S) + np.repeat(padding_before_B, count_B) - 1
        self.text_S = self.sep_S - length_S
        self.span_S = slots_S.copy()
        self.span_S[end_B - 1] += padding_B

        self.cls_E = self.text_S[self.opens_S] - 1
        opened_S = np.cumsum(self.opens_S)  # examples up to here, over the whole batch
        self.cls_S = self.cls_E[opened_S - 1]
        self.example_S = opened_S - np.repeat(opened_S[begin_B] - 1, count_B)
