"""Corpora, indexes and caches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.data import step_files
from bert_jax.data.corpus import stage_files
from bert_jax.data.corpus.shards import ShardWriter, TokenShards
from bert_jax.data.labelled.features import Features, cached
from tests.data.corpora import Corpus
from tests.hostile.format import Format, plain


def _write_shards(folder: Path) -> None:
    rng = np.random.default_rng(0)
    (folder / "vocab.txt").write_text("a\nb\n")
    with ShardWriter(folder, vocab_size=500, shard_tokens=20) as writer:
        for _ in range(4):
            ids = rng.integers(0, 500, 12)
            writer.add(ids, ids % 2 == 0, np.array([5, 7]), np.array([2]))
        writer.finish(
            vocab_size=500,
            special_ids={"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4},
            sources=[{"name": "test", "documents": 4}],
            counts={"characters": 7},
            text={"sources": [], "vocabulary": None},
            config={"data.path": ["x"]},
        )


def _read_shards(folder: Path) -> Any:
    """As the first run over a corpus does, which compares all checksums."""
    shards = TokenShards.open(folder)
    shards.verify_vocabulary()
    shards.verify()
    starts = shards.sentence_starts[:-1]
    lengths = np.diff(shards.sentence_starts)
    windows = shards.gather(starts, lengths, int(lengths.max(initial=1)))
    words = shards.gather_words(starts, lengths, int(lengths.max(initial=1)))
    inside = np.arange(windows.shape[1]) < lengths[:, None]
    return plain([windows[inside], words[inside], shards.document_starts, shards.special, shards.digest])


_CORPUS_LENGTHS = [[5, 4, 7], [6, 3], [8, 2, 2], [4, 4], [9]]


def _index(folder: Path) -> Any:
    from bert_jax.config import DataConfig

    index = Corpus(folder, _CORPUS_LENGTHS).index(DataConfig(sequence_length=32, eval_fraction=0.0))
    return plain([np.array(index.segments), np.array(index.rows)])


def _index_files() -> Format:
    def write(folder: Path) -> None:
        _index(folder)
        [made] = [path for path in (folder / "index").iterdir() if path.is_dir()]
        assert sorted(path.name for path in made.iterdir()) == ["checksums.json", "rows.npy", "segments.npy"]

    def read(folder: Path) -> Any:
        return _index(folder)

    names = ("segments.npy", "rows.npy", "checksums.json")
    return Format("index", write, read, tuple(f"index/*/{name}" for name in names), checked=True)


_FEATURES = Features(
    tokens_T=np.arange(7, dtype=np.int32),
    type_ids_T=np.zeros(7, np.uint8),
    lengths_S=np.array([3, 4], np.int32),
    examples_S=np.array([0, 1], np.int32),
    of_sequences={"labels_P": np.array([1, 0], np.int32)},
    of_tokens={"tags_L": np.arange(7, dtype=np.int32)},
    of_positions={"starts_P": np.array([1, 2], np.int32)},
    kept={"spans_T2": np.zeros((7, 2), np.int32)},
)


def _features(folder: Path) -> Any:
    return plain(cached(folder, {"of": "a test"}, lambda: _FEATURES))


_STEP = {"values": np.arange(12, dtype=np.float16).reshape(4, 3), "ids": np.arange(4, dtype=np.uint16)}


def _steps(folder: Path) -> Any:
    """A step of a teacher's outputs, computed where it is not read."""
    files = step_files.StepFiles(folder, tuple(_STEP), {"of": "a test"})
    found = files.read(5, 17)
    if found is None:
        files.add(5, 17, _STEP)
        found = _STEP
    files.flush()
    return plain({name: found[name] for name in _STEP})


def _stage(folder: Path) -> Any:
    fields = {"hashes": np.arange(5, dtype=np.uint64), "counts": {"a": 1}}
    path = folder / "cleaned-00000-00000.npz"
    if not stage_files.is_sound(path):
        stage_files.save(path, fields)
    return plain(stage_files.load(path, fields))


def _only(folder: Path, pattern: str) -> None:
    assert list(folder.glob(pattern)), f"{pattern} is not written"


def formats() -> list[Format]:
    return [
        Format("shards", _write_shards, _read_shards, (
            "manifest.json", "tokens-00000.npy", "words-00000.npy", "sentences.npy", "documents.npy", "vocab.txt",
        ), checked=True, unchecked=("manifest.json",)),
        _index_files(),
        Format("features", lambda folder: _features(folder) and None, _features, ("*.npz",), checked=True),
        Format("steps", lambda folder: _steps(folder) and None, _steps, ("*.npz",), checked=True),
        Format("stage", lambda folder: _stage(folder) and None, _stage, ("*.npz",), checked=True),
    ]  # fmt: skip
