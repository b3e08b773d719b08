"""Statistics of a prepared corpus and of its rows, as JSON-ready dictionaries.

Everything is read in pieces. More than `AT_MOST` sentences, documents or rows are measured on a sample: blocks of
consecutive ones, evenly spaced from the first to the last, so that few pages of a large file are read.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bert_jax.data.corpus.windows import cut_windows
from bert_jax.data.instances.index import FIRST, Index

if TYPE_CHECKING:
    from bert_jax.data.corpus.shards import TokenShards

AT_MOST = 2_000_000
_BLOCKS = 256  # of a sample
_PIECE = 64  # tokens read together: a sentence has a few pieces
_SENTENCES = 2**14  # read at once
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_BINS = 60


def sample(count: int, at_most: int) -> list[slice]:
    """All of `count` items as one slice, or evenly spaced slices of `at_most` items in all."""
    if count <= at_most:
        return [slice(0, count)]
    each = max(1, at_most // _BLOCKS)
    firsts = np.linspace(0, count - each, at_most // each).astype(np.int64)
    return [slice(first, first + each) for first in firsts.tolist()]


def distribution(
    values: np.ndarray, *, longest: int = 0, scale: Literal["linear", "log"] = "linear"
) -> dict[str, Any]:
    """Mean, extremes, quantiles and histogram of whole numbers > 0; {} of none.

    Bin i holds edges[i] <= value < edges[i + 1]. Bins are equally wide up to `longest`, or up to twice the 99th
    percentile with one more for the rest; or equally wide on a logarithmic scale.
    """
    if not len(values):
        return {}
    low, high = int(values.min()), int(values.max())
    quantiles = dict(zip(map(str, _QUANTILES), np.quantile(values, _QUANTILES).tolist(), strict=True))
    if scale == "log":
        edges = np.unique(np.geomspace(low, high + 1, _BINS // 2 + 1).round().astype(np.int64))
    else:
        end = (longest or min(high, math.ceil(2 * quantiles["0.99"]))) + 1
        width = math.ceil((end - 1) / _BINS)
        edges = np.arange(end - width * math.ceil((end - 1) / width), end + 1, width)
        if edges[-1] <= high:
            edges = np.append(edges, high + 1)
    return {
        "measured": len(values),
        "mean": float(values.mean()),
        "min": low,
        "max": high,
        "quantiles": quantiles,
        "edges": edges.tolist(),
        "counts": np.histogram(values, edges)[0].tolist(),
    }


def ratio(parts: np.ndarray, wholes: np.ndarray) -> dict[str, float | None]:
    """sum(parts) / sum(wholes) over independent rows, with the standard error of this ratio of sums.

    Tokens of one row, or of one span, are not independent of each other; rows are, so the error is computed over rows.
    """
    whole = float(wholes.sum())
    if not whole:
        return {"share": None, "error": None}
    share = float(parts.sum()) / whole
    return {"share": share, "error": math.sqrt(float(((parts - share * wholes) ** 2).sum())) / whole}


def describe_corpus(shards: TokenShards, ordinary_ids: np.ndarray) -> dict[str, Any]:
    """Sizes, sources, lengths, and the use of the vocabulary.

    ordinary_ids: entries that text can contain: neither special nor [unused0] and the like.
    """
    counts = shards.manifest["counts"]
    sentences, documents = shards.sentence_starts, shards.document_starts
    # Sources are stored one after another, so their documents bound their tokens.
    bounds = np.cumsum([0, *(source["documents"] for source in shards.manifest["sources"])])
    tokens = np.diff(sentences[documents[bounds]]).tolist()
    return {
        "folder": str(shards.folder),
        "documents": len(documents) - 1,
        "sentences": len(sentences) - 1,
        "tokens": int(sentences[-1]),
        "characters": counts["characters"],
        "unknown": counts["unknown"],
        "sources": [
            {"name": source["name"], "documents": source["documents"], "tokens": size}
            for source, size in zip(shards.manifest["sources"], tokens, strict=True)
        ],
        "sentence_tokens": distribution(
            np.concatenate(
                [np.diff(sentences[_bounds(block)]) for block in sample(len(sentences) - 1, AT_MOST)]
            )
        ),
        "document_tokens": distribution(
            np.concatenate(
                [
                    np.diff(sentences[documents[_bounds(block)]])
                    for block in sample(len(documents) - 1, AT_MOST)
                ]
            ),
            scale="log",
        ),
        "vocabulary": _describe_vocabulary(shards, ordinary_ids),
    }


def _bounds(block: slice) -> slice:
    """A slice of items -> the slice of the array of their starts, with the end of the last."""
    return slice(block.start, block.stop + 1)


def _describe_vocabulary(shards: TokenShards, ordinary_ids: np.ndarray) -> dict[str, Any]:
    """Use of the entries, and the number of words, over at most `AT_MOST` sentences."""
    uses = np.zeros(shards.vocab_size, np.int64)
    words = 0
    runs = sample(len(shards.sentence_starts) - 1, AT_MOST)
    for run in runs:
        for first in range(run.start, run.stop, _SENTENCES):
            starts = shards.sentence_starts[first : min(first + _SENTENCES, run.stop) + 1]
            windows = cut_windows(starts[:-1], np.diff(starts), width=_PIECE)
            uses += np.bincount(windows.read(shards.gather), minlength=len(uses))
            words += int(windows.read(shards.gather_words).sum())
    return {
        "entries": len(uses),
        "usable": len(ordinary_ids),
        "never_used": int((uses[ordinary_ids] == 0).sum()),
        "tokens": int(uses.sum()),
        "words": words,
    }


def describe_split(shards: TokenShards, documents: np.ndarray) -> dict[str, int]:
    """Documents and tokens of a split, from the numbers of its documents."""
    firsts, ends = shards.document_starts[documents], shards.document_starts[documents + 1]
    tokens = shards.sentence_starts[ends] - shards.sentence_starts[firsts]
    return {"documents": len(documents), "tokens": int(tokens.sum())}


def describe_rows(index: Index, *, length: int) -> dict[str, Any]:
    """Lengths of rows and examples with special tokens, fill, examples per row, balance of the pair labels.

    length: token slots of a row, L.
    """
    rows, examples, starts, labels = [], [], [], []
    for block in sample(len(index), AT_MOST):
        bounds = np.asarray(index.rows[_bounds(block)])
        segments = np.asarray(index.segments[bounds[0] : bounds[-1]])
        opens = segments["role"] == FIRST
        first = np.flatnonzero(opens)
        slots = segments["length"].astype(np.int64) + 1 + opens
        rows.append(np.add.reduceat(slots, bounds[:-1] - bounds[0]))
        starts.append(np.add.reduceat(opens.astype(np.int64), bounds[:-1] - bounds[0]))
        examples.append(np.add.reduceat(slots, first))
        labels.append(segments["label"][first])
    row_tokens, label = np.concatenate(rows), np.concatenate(labels)
    ones, labelled = int((label == 1).sum()), int((label >= 0).sum())
    return {
        "rows": len(index),
        "length": length,
        "row_tokens": distribution(row_tokens, longest=length),
        "fill": float(row_tokens.mean() / length),
        "example_tokens": distribution(np.concatenate(examples), longest=length),
        "examples_a_row": distribution(np.concatenate(starts)),
        "labels": {
            "one": ones,
            "zero": labelled - ones,
            "none": len(label) - labelled,
            **ratio((label == 1)[label >= 0], np.ones(labelled)),
        },
    }
