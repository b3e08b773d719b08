"""How often each entry of the vocabulary stands in the training text."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from bert_jax.data.corpus.windows import cut_windows_in_groups
from bert_jax.data.instances.index import split_documents
from bert_jax.progress import bar

_PIECE = 256  # tokens read together
_PIECES = 2**14  # pieces read at once: 4 million tokens


class Text(Protocol):
    """What counting needs of `bert_jax.data.corpus.shards.TokenShards`."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def sentence_starts(self) -> np.ndarray: ...
    @property
    def document_starts(self) -> np.ndarray: ...
    def gather(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray: ...


def token_counts(shards: Text, eval_fraction: float) -> np.ndarray:
    """Occurrences of each token id in the documents that are not held out, each once: int64 [V]."""
    bounds = shards.sentence_starts[shards.document_starts]
    documents = split_documents(len(bounds) - 1, eval_fraction, "train")
    starts, lengths = bounds[:-1][documents], np.diff(bounds)[documents]
    counts = np.zeros(shards.vocab_size, np.int64)
    with bar(
        description="counting training tokens", total=int(lengths.sum()), unit="tokens", delay=1.0
    ) as done:
        for windows in cut_windows_in_groups(starts, lengths, width=_PIECE, most=_PIECES):
            counts += np.bincount(windows.read(shards.gather), minlength=len(counts))
            done.update(int(windows.lengths.sum()))
    return counts
