"""Instance indexes: which segments of tokens make each training row, for each sentence objective and format.

An index is two small tables over the token shards, built once for a config and cached beside the shards.
Changing the objective never tokenises again. An index is a pure function of (shards, data config, split, seed). It is
built one group of documents at a time, so that memory does not grow with their text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bert_jax import array_file, atomic, json_file, locks
from bert_jax.config import DataConfig, PretrainConfig
from bert_jax.data.growing import GrowingArray
from bert_jax.data.instances.documents import FIRST, NEXT, SECOND, SEGMENT, DocumentOrder
from bert_jax.data.instances.full_sentences import crossing_examples, document_examples, single_length
from bert_jax.data.instances.pairs import either_way, needs_other_documents, pair_examples, pair_length
from bert_jax.data.instances.tables import write_packed
from bert_jax.errors import UserError
from bert_jax.progress import bar

if TYPE_CHECKING:
    from bert_jax.data.corpus.shards import TokenShards

__all__ = ["FIRST", "NEXT", "SECOND", "SEGMENT", "Index", "Split", "load_index", "split_documents"]

Split = Literal["train", "eval"]

_FORMAT = 3
_EVAL_SEED = 20181011  # held-out rows are the same for every seed of an ablation
_CHECKSUMS = "checksums.json"
_TABLES = {"segments.npy": SEGMENT, "rows.npy": np.dtype(np.int64)}
_SEARCHED = 2**20  # segments looked at together
_MIN_HELD_OUT = 2  # nsp needs another document for B, and every objective shares the split


@dataclasses.dataclass(frozen=True)
class Index:
    """The rows of a split, each of one or more examples, each example of one or more segments."""

    segments: np.ndarray
    """SEGMENT [segments], row after row. A segment whose role is FIRST begins an example; label: 1 for
    "B is from another document" (nsp) or "A and B are swapped" (sop), 0 for not, -1 for none."""
    rows: np.ndarray
    """int64 [rows + 1]: row r is segments[rows[r] : rows[r + 1]]."""

    def __len__(self) -> int:
        return len(self.rows) - 1

    def has_pair_labels(self) -> bool:
        """Whether any example has a pair label: none has where every document is one sentence."""
        starts = range(0, len(self.segments), _SEARCHED)
        return any((self.segments["label"][start : start + _SEARCHED] >= 0).any() for start in starts)


def load_index(shards: TokenShards, config: PretrainConfig, split: Split) -> Index:
    """The index for `config` and `split`, from its cache or built and cached.

    One process builds it while others wait; where the file system has no locks, several build the same bytes, and the
    first to finish is kept. A cached index that is damaged is built again.

    Raises:
      UserError: too few documents, a damaged shard, or a disk that cannot be written.
    """
    data = config.data
    seed = config.seed if split == "train" else _EVAL_SEED
    folder = shards.folder / "index" / _name(shards, data, split, seed)
    found = _open(folder)
    if found is not None:
        return found
    try:
        folder.parent.mkdir(exist_ok=True)
        with locks.awaited(folder.with_name(f".{folder.name}.lock")) as alone:
            found = _open(folder)  # another process may have built it meanwhile
            if found is not None:
                return found
            if alone:
                for left in folder.parent.glob(f".{folder.name}.*.partial"):  # of builders that were killed
                    shutil.rmtree(left, ignore_errors=True)
            shards.verify()  # once for each index: later runs trust what was checked here
            _build_into(folder, shards, data, split, seed)
    except OSError as error:
        raise UserError(
            f"the index {folder} cannot be built: {error}; make the folder writable with free space, or change"
            f" config.data.directory={data.directory!r}"
        ) from error
    found = _open(folder)
    if found is None:
        raise UserError(f"the index {folder} was damaged while it was written; check the disk")
    return found


def split_documents(count: int, eval_fraction: float, split: Split) -> np.ndarray:
    """Sorted document numbers of a split. The held-out ones depend on `count` and the fraction alone."""
    held_out = max(_MIN_HELD_OUT, round(count * eval_fraction)) if eval_fraction else 0
    shuffled = np.random.default_rng(_EVAL_SEED).permutation(count)
    return np.sort(shuffled[:held_out] if split == "eval" else shuffled[held_out:])


def examples(
    order: DocumentOrder, data: DataConfig, *, progress: Callable[[int], object] = lambda sentences: None
) -> Iterator[np.ndarray]:
    """The examples of a split in reading order: SEGMENT [...], some at a time.

    `progress` is called with numbers of sentences, as they have been read.
    """
    groups = order.pieces(progress)
    if data.format == "full_sentences":
        return crossing_examples(groups, data)
    if data.format == "doc_sentences":
        return document_examples(groups, data)
    return pair_examples(groups, order, data)


def document_order(shards: TokenShards, data: DataConfig, split: Split, *, seed: int) -> DocumentOrder:
    """The documents of a split; of training, as often as `data.weights` say.

    Raises:
      UserError: too few documents.
    """
    count = len(shards.document_starts) - 1
    documents = split_documents(count, data.eval_fraction, split)
    needed = 2 if needs_other_documents(data) else 1
    if len(documents) < needed:
        raise UserError(
            f"the {split} split has {len(documents)} of the corpus's {count}"
            f" documents, config.data.sentence_objective={data.sentence_objective!r} needs >= {needed}:"
            " add documents (a blank line ends one in .txt) or change config.data.eval_fraction="
            f"{data.eval_fraction}"
        )
    paired = data.format in ("segment_pair", "sentence_pair")
    order = DocumentOrder(
        shards,
        documents,
        longest=pair_length(data) if paired else single_length(data),
        seed=seed,
        either_way=either_way(data),
        weights=_document_weights(shards, data)[documents] if data.weights and split == "train" else None,
    )
    if len(order.documents) < needed:
        raise UserError(
            f"config.data.weights={data.weights} read {len(order.documents)} of the {split} split's"
            f" {len(documents)} documents, config.data.sentence_objective={data.sentence_objective!r} needs"
            f" >= {needed}: raise the weights or add documents"
        )
    return order


def _document_weights(shards: TokenShards, data: DataConfig) -> np.ndarray:
    """Visits per epoch of each document of the corpus: float64 [documents]."""
    sources = shards.manifest["sources"]
    if len(sources) != len(data.weights):
        raise UserError(
            f"config.data.weights={data.weights} must be one for each of the {len(sources)} sources of the"
            f" corpus at {shards.folder}"
        )
    return np.repeat(np.array(data.weights, np.float64), [source["documents"] for source in sources])


def _name(shards: TokenShards, data: DataConfig, split: Split, seed: int) -> str:
    """Folder of an index: readable, and a hash of all that decides its content."""
    weights = data.weights if split == "train" else ()
    key = [_FORMAT, shards.digest, split, seed, data.eval_fraction, data.sequence_length, weights]
    key += [data.sentence_objective, data.format, data.boundaries, data.short_sequence_probability]
    key += [sorted(set(data.quirks)), data.packing]
    hashed = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    packed = f"-packed{data.packing}" if data.packing > 1 else ""
    return f"{split}-{data.sentence_objective}-{data.format}-{data.sequence_length}{packed}-{hashed}"


def _open(folder: Path) -> Index | None:
    """The index in a folder; None where there is none, or a damaged one.

    Every byte is read once, for its checksum: a third of a second a GiB besides the disk, and
    an epoch reads them all anyway.
    """
    try:
        expected = json_file.read(folder / _CHECKSUMS)
        if {name: array_file.crc32(folder / name) for name in _TABLES} != expected:
            return None
    except (OSError, UserError):
        return None
    segments, rows = (array_file.mapped(folder / name, dtype) for name, dtype in _TABLES.items())
    if segments is None or rows is None or rows[-1] != len(segments):
        return None
    return Index(segments, rows)


def _build_into(folder: Path, shards: TokenShards, data: DataConfig, split: Split, seed: int) -> None:
    """Builds an index beside `folder`, then puts it there, unless another process was first."""
    try:
        with atomic.folder(folder) as partial:
            _write(partial, shards, data, split, seed)
            if _open(folder) is None:  # what others have open, stays
                shutil.rmtree(folder, ignore_errors=True)  # a damaged one
    except OSError:
        if _open(folder) is None:
            raise


def _write(folder: Path, shards: TokenShards, data: DataConfig, split: Split, seed: int) -> None:
    """Writes segments.npy and rows.npy, one example per row, or packed; and then their checksums."""
    order = document_order(shards, data, split, seed=seed)
    packed = data.packing > 1
    table = folder / ("examples.npy" if packed else "segments.npy")
    starts = folder / ("starts.npy" if packed else "rows.npy")
    with (
        GrowingArray(table, SEGMENT) as segments,
        GrowingArray(starts, np.dtype(np.int64)) as rows,
        bar(
            description=f"index of {split} rows",
            total=order.sentences,
            unit="sentences",
            unit_scale=True,
            delay=1.0,
        ) as progress,
    ):
        for part in examples(order, data, progress=progress.update):
            rows.append(segments.count + np.flatnonzero(part["role"] == FIRST))
            segments.append(part)
        rows.append(np.array([segments.count]))
    if packed:
        write_packed(folder, table, starts, capacity=data.sequence_length, depth=data.packing, seed=seed)
    checksums = {name: array_file.crc32(folder / name) for name in _TABLES}
    (folder / _CHECKSUMS).write_text(json.dumps(checksums), encoding="utf-8")
