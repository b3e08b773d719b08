"""How often each entry of the vocabulary stands in the training text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Protocol

import numpy as np

from bert_jax import array_file, atomic, locks
from bert_jax.data.corpus.windows import cut_windows_in_groups
from bert_jax.data.instances.index import split_documents
from bert_jax.errors import UserError
from bert_jax.progress import bar

_PIECE = 256  # tokens read together
_PIECES = 2**14  # pieces read at once: 4 million tokens


class Text(Protocol):
    """What counting needs of `bert_jax.data.corpus.shards.TokenShards`."""

    @property
    def folder(self) -> Path: ...
    @property
    def digest(self) -> str: ...
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


def load_token_counts(shards: Text, eval_fraction: float) -> np.ndarray:
    """`token_counts` from the cache beside the shards, or counted and cached.

    One process counts while others wait. A cached file that is damaged is made again.

    Raises:
      UserError: a damaged shard, or a disk that cannot be written.
    """
    key = hashlib.sha256(json.dumps([shards.digest, eval_fraction]).encode()).hexdigest()[:16]
    file = shards.folder / "index" / f"token-counts-{key}.npz"
    found = _cached(file, shards.vocab_size)
    if found is not None:
        return found
    try:
        file.parent.mkdir(exist_ok=True)
        with locks.awaited(file.with_name(f".{file.stem}.lock")):
            found = _cached(file, shards.vocab_size)  # another process may have counted meanwhile
            if found is None:
                found = token_counts(shards, eval_fraction)
                with atomic.binary_stream(file) as stream:
                    np.savez(stream, counts=found)  # with a checksum, as .npy has none
    except OSError as error:
        raise UserError(
            f"{file} cannot be made: {error}; make the folder writable with free space, or change"
            " config.data.directory"
        ) from error
    return found


def _cached(file: Path, size: int) -> np.ndarray | None:
    try:
        found = array_file.read_npz(file, ["counts"])["counts"]
    except (OSError, ValueError):
        return None
    return found if found.shape == (size,) and found.dtype == np.int64 else None
