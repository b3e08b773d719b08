"""Instance indexes: which runs of tokens make each training row, for each sentence objective.

An index is a small table over the token shards: five integers a row, built once for a config and
cached beside the shards. Changing the objective never tokenises again.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import os
import random
from collections.abc import Iterator
from typing import Literal

import numpy as np

from bert_jax.config import Config, DataConfig
from bert_jax.data.shards import TokenShards
from bert_jax.errors import UserError

Split = Literal["train", "eval"]

# A row is [CLS] A [SEP] or [CLS] A [SEP] B [SEP]; runs are global token positions. `label` is 1 for
# "B is from another document" (nsp) or "A and B are swapped" (sop), 0 for not, -1 for no label.
INSTANCE = np.dtype(
    [("a_start", "<i8"), ("b_start", "<i8"), ("a_length", "<i4"), ("b_length", "<i4"), ("label", "<i4")]
)
_FORMAT = 2
_EVAL_SEED = 20181011  # held-out rows are the same for every seed of an ablation
_MIN_HELD_OUT = 2  # nsp needs another document to draw from, and every objective shares the split


def load_index(shards: TokenShards, config: Config, split: Split) -> np.ndarray:
    """The index for `config` and `split`, from its cache or built and cached: INSTANCE [rows].

    Raises:
      UserError: too few documents, a damaged shard, or no row at all.
    """
    data = config.data
    seed = config.seed if split == "train" else _EVAL_SEED
    key = [_FORMAT, shards.digest, split, data.eval_fraction, data.sequence_length]
    key += [data.sentence_objective, data.short_sequence_probability, seed]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = shards.folder / "index" / f"{split}-{data.sentence_objective}-{data.sequence_length}-{name}.npy"
    if not path.is_file():
        shards.verify()  # once for each index: later runs trust what was checked here
        index = build_index(shards, data, split, seed=seed)
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        with partial.open("wb") as stream:
            np.save(stream, index)
        partial.replace(path)
    return np.load(path, mmap_mode="r")


def split_documents(count: int, eval_fraction: float, split: Split) -> np.ndarray:
    """Sorted document numbers of a split. The held-out ones depend on `count` and the fraction alone."""
    held_out = max(_MIN_HELD_OUT, round(count * eval_fraction)) if eval_fraction else 0
    shuffled = np.random.default_rng(_EVAL_SEED).permutation(count)
    return np.sort(shuffled[:held_out] if split == "eval" else shuffled[held_out:])


def build_index(shards: TokenShards, data: DataConfig, split: Split, *, seed: int) -> np.ndarray:
    """Builds the index of a split: INSTANCE [rows]. Deterministic for (shards, data, split, seed)."""
    documents = split_documents(len(shards.document_starts) - 1, data.eval_fraction, split)
    needed = 2 if data.sentence_objective == "nsp" else 1
    if len(documents) < needed:
        raise UserError(
            f"the {split} split has {len(documents)} of the corpus's {len(shards.document_starts) - 1}"
            f" documents, config.data.sentence_objective={data.sentence_objective!r} needs >= {needed}:"
            " add documents (a blank line ends one in .txt) or change config.data.eval_fraction="
            f"{data.eval_fraction}"
        )
    corpus = _Corpus(shards, documents, longest=data.sequence_length - 3)
    rng = random.Random(seed)
    build = {"none": _single_segments, "nsp": _next_sentences, "sop": _sentence_orders}
    rows = build[data.sentence_objective](corpus, data, rng)
    return np.fromiter(rows, INSTANCE)


class _Corpus:
    """The documents of a split as runs of sentences; a sentence too long for a row is cut in pieces."""

    def __init__(self, shards: TokenShards, documents: np.ndarray, *, longest: int):
        starts, bounds = shards.sentence_starts, shards.document_starts
        pieces_of = -(-np.diff(starts) // longest)  # ceil: pieces of each sentence
        first_piece = np.concatenate([[0], np.cumsum(pieces_of)])
        order = np.arange(first_piece[-1]) - np.repeat(first_piece[:-1], pieces_of)
        self.starts = np.append(np.repeat(starts[:-1], pieces_of) + order * longest, starts[-1])
        """First token of each piece, and the end."""
        self.ranges = [(int(first_piece[bounds[d]]), int(first_piece[bounds[d + 1]])) for d in documents]
        """First and last + 1 piece of each document."""

    def chunk_end(self, first: int, last: int, target: int) -> int:
        """End of the shortest run of pieces from `first` with >= `target` tokens, or `last`."""
        wanted = self.starts[first] + target
        return min(bisect.bisect_left(self.starts, wanted, first + 1, last), last)

    def run(self, first: int, end: int) -> tuple[int, int]:
        """(start, length) in tokens of pieces `first` to `end` - 1."""
        start = int(self.starts[first])
        return start, int(self.starts[end]) - start


def _target_length(longest: int, data: DataConfig, rng: random.Random) -> int:
    """Tokens to aim at; drawn once a document, as `create_pretraining_data.py` does."""
    if rng.random() < data.short_sequence_probability:
        return rng.randint(2, longest)
    return longest


def _single_segments(corpus: _Corpus, data: DataConfig, rng: random.Random) -> Iterator[tuple]:
    """Whole consecutive sentences up to the target, never across documents (RoBERTa, DOC-SENTENCES)."""
    for first, last in corpus.ranges:
        target = _target_length(data.sequence_length - 2, data, rng)
        while first < last:
            end = bisect.bisect_right(corpus.starts, corpus.starts[first] + target, first + 1, last + 1) - 1
            end = max(end, first + 1)
            start, length = corpus.run(first, end)
            yield start, start, length, 0, -1
            first = end


def _sentence_orders(corpus: _Corpus, data: DataConfig, rng: random.Random) -> Iterator[tuple]:
    """Two consecutive segments, half the time swapped (Lan et al. 2020, section 3.1).

    A chunk of one sentence has no order: it becomes a single segment without a label. (ALBERT's code
    draws a random segment and labels it 1 there, which mixes topic into the objective.)
    """
    longest = data.sequence_length - 3
    for first, last in corpus.ranges:
        target = _target_length(longest, data, rng)
        while first < last:
            end = corpus.chunk_end(first, last, target)
            if end - first == 1:
                start, length = corpus.run(first, end)
                yield start, start, length, 0, -1
            else:
                middle = first + rng.randint(1, end - first - 1)
                a, b = corpus.run(first, middle), corpus.run(middle, end)
                swapped = rng.random() < 0.5
                # Swapped before it is truncated: truncation favours the first of two equals, and would
                # otherwise write the label into the lengths.
                a, b = _truncate_pair(*((b, a) if swapped else (a, b)), longest, rng)
                yield _pair(a, b, int(swapped))
            first = end


def _next_sentences(corpus: _Corpus, data: DataConfig, rng: random.Random) -> Iterator[tuple]:
    """BERT's algorithm (`create_pretraining_data.py`, `create_instances_from_document`).

    Half of the chunks of two and more sentences, and all of one, take B from a random document; the
    sentences this leaves unused start the next chunk.
    """
    longest, count = data.sequence_length - 3, len(corpus.ranges)
    for document, (first, last) in enumerate(corpus.ranges):
        target = _target_length(longest, data, rng)
        while first < last:
            end = corpus.chunk_end(first, last, target)
            middle = first + (rng.randint(1, end - first - 1) if end - first > 1 else 1)
            a = corpus.run(first, middle)
            is_random = end - first == 1 or rng.random() < 0.5
            if is_random:
                other = _other_document(document, count, rng)
                other_first, other_last = corpus.ranges[other]
                start = rng.randint(other_first, other_last - 1)
                b = corpus.run(start, corpus.chunk_end(start, other_last, target - a[1]))
                first = middle
            else:
                b = corpus.run(middle, end)
                first = end
            a, b = _truncate_pair(a, b, longest, rng)
            yield _pair(a, b, int(is_random))


def _other_document(document: int, count: int, rng: random.Random) -> int:
    """A document other than this one. BERT's code gives up after ten draws and may return the same."""
    other = rng.randrange(count - 1)
    return other + (other >= document)


def _truncate_pair(a, b, longest: int, rng: random.Random):
    """Drops tokens of the longer run, at its front or back by coin, until both fit in `longest`."""
    (a_start, a_length), (b_start, b_length) = a, b
    while a_length + b_length > longest:
        front = rng.random() < 0.5
        if a_length > b_length:
            a_start, a_length = a_start + front, a_length - 1
        else:
            b_start, b_length = b_start + front, b_length - 1
    return (a_start, a_length), (b_start, b_length)


def _pair(a: tuple[int, int], b: tuple[int, int], label: int) -> tuple[int, int, int, int, int]:
    return a[0], b[0], a[1], b[1], label
