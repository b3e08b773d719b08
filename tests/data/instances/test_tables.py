"""The cache of indexes: built once, by one process, put in place whole, and not trusted when it is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from bert_jax.config import DataConfig, PretrainConfig
from bert_jax.data.instances.index import Index, load_index
from bert_jax.errors import UserError
from tests.data.corpora import Corpus, random_lengths

ROOT = Path(__file__).parents[3]


def data_of(**options) -> DataConfig:
    return DataConfig(**{"sequence_length": 24, "eval_fraction": 0.2} | options)


def corpus_at(folder: Path, seed: int = 4) -> Corpus:
    return Corpus(folder, random_lengths(seed, documents=20))


def cached(corpus: Corpus) -> set[Path]:
    return {path for path in (corpus.folder / "index").glob("*") if not path.name.endswith(".lock")}


def same(first, second) -> bool:
    return first.segments.tolist() == second.segments.tolist() and first.rows.tolist() == second.rows.tolist()


@pytest.mark.parametrize("packing", [1, 3])
def test_an_index_is_built_once_and_then_read(tmp_path, packing):
    corpus = corpus_at(tmp_path)
    first = corpus.index(data_of(packing=packing))
    (folder,) = cached(corpus)
    assert {file.name for file in folder.iterdir()} == {"segments.npy", "rows.npy", "checksums.json"}
    assert len(first) == len(first.rows) - 1
    again = corpus.index(data_of(packing=packing))
    assert same(first, again)
    assert cached(corpus) == {folder}
    assert corpus.verified == 1
    assert isinstance(again.segments, np.memmap) and isinstance(again.rows, np.memmap)


def test_an_index_can_be_read_where_nothing_can_be_written(tmp_path, monkeypatch):
    corpus = corpus_at(tmp_path)
    corpus.index(data_of())

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "index"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert len(corpus.index(data_of()))
    with pytest.raises(
        UserError, match=r"^the index .* cannot be built: .*Permission denied.* config\.data\.directory=''$"
    ):
        corpus.index(data_of(sequence_length=32))


def test_what_decides_the_rows_has_an_index_of_its_own(tmp_path):
    corpus = Corpus(tmp_path, random_lengths(4, documents=20), sources=[20])
    variants = [
        ({}, "train", 0),
        ({}, "train", 1),
        ({"sentence_objective": "sop"}, "train", 0),
        ({"sentence_objective": "none"}, "train", 0),
        ({"sentence_objective": "none", "format": "full_sentences"}, "train", 0),
        ({"sequence_length": 32}, "train", 0),
        ({"boundaries": "whole"}, "train", 0),
        ({"short_sequence_probability": 0.2}, "train", 0),
        ({"quirks": ("ten_draws", "lone_is_random")}, "train", 0),
        ({"packing": 2}, "train", 0),
        ({"weights": (2.0,)}, "train", 0),
        ({"eval_fraction": 0.3}, "train", 0),
        ({}, "eval", 0),
    ]
    for count, (options, split, seed) in enumerate(variants, 1):
        corpus.index(data_of(**options), split, seed=seed)
        assert len(cached(corpus)) == count
    corpus.index(data_of(quirks=("lone_is_random", "ten_draws")))  # their order does not
    corpus.index(data_of(), "eval", seed=7)  # nor the seed for held-out rows
    corpus.index(data_of(weights=(2.0,)), "eval")  # nor the weights
    assert len(cached(corpus)) == len(variants)


def test_an_index_of_another_corpus_in_the_same_folder_is_not_used(tmp_path):
    before = corpus_at(tmp_path, seed=4).index(data_of())
    after = corpus_at(tmp_path, seed=5).index(data_of())
    assert len(cached(corpus_at(tmp_path))) == 2
    assert not same(before, after)


def test_a_corpus_that_fails_its_checksums_gets_no_index(tmp_path, monkeypatch):
    corpus = corpus_at(tmp_path)

    def fail() -> None:
        raise UserError("tokens-00000-00000.npy: checksum 1 must be 2")

    monkeypatch.setattr(corpus, "verify", fail)
    with pytest.raises(UserError, match=r"checksum 1 must be 2"):
        corpus.index(data_of())
    assert cached(corpus) == set()


@pytest.mark.parametrize("packing", [1, 2])
@pytest.mark.parametrize("name", ["segments.npy", "rows.npy", "checksums.json"])
@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "missing", "other", "flipped"])
def test_a_damaged_index_is_built_again(tmp_path, packing, name, damage):
    corpus, data = corpus_at(tmp_path), data_of(packing=packing)
    index = corpus.index(data)
    first = Index(np.array(index.segments), np.array(index.rows))  # the files it maps are about to change
    (folder,) = cached(corpus)
    file = folder / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "other":
        with file.open("wb") as stream:
            np.save(stream, np.arange(5, dtype=np.int64))
    else:
        flipped = content[:-1] + bytes([content[-1] ^ 1])  # a bit of the last entry
        damaged = {"cut": content[:-1], "longer": content + b"\0", "empty": b"", "flipped": flipped}
        file.write_bytes(damaged[damage])
    assert same(corpus.index(data), first)
    assert file.read_bytes() == content
    assert corpus.verified == 2


def test_many_at_once_build_it_once(tmp_path):
    corpus = corpus_at(tmp_path)
    found = []
    threads = [threading.Thread(target=lambda: found.append(corpus.index(data_of()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert corpus.verified == 1
    assert len(found) == 6 and all(same(index, found[0]) for index in found)


def test_a_killed_builder_leaves_nothing_that_counts(tmp_path):
    """It is killed while it holds the lock, a table half written."""
    program = f"""
import time
from pathlib import Path
from bert_jax.data.instances import index
from tests.data.instances.test_tables import corpus_at, data_of
def stop(folder, *_):
    (folder / "segments.npy").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
index._write = stop
corpus_at(Path({str(tmp_path)!r})).index(data_of())
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"writing\n"
        child.send_signal(signal.SIGKILL)
    index_folder = tmp_path / "index"
    assert len(list(index_folder.glob(".*.partial"))) == 1
    corpus = corpus_at(tmp_path)
    index = load_index(corpus, PretrainConfig(data=data_of()), "train")  # type: ignore[arg-type]
    assert same(index, corpus_at(tmp_path).index(data_of()))
    assert list(index_folder.glob(".*.partial")) == []
    assert len(cached(corpus)) == 1


def test_without_locks_the_first_to_finish_is_kept(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)
    corpus, other = corpus_at(tmp_path), corpus_at(tmp_path)
    monkeypatch.setattr("os.getpid", lambda: 1)
    monkeypatch.setattr(corpus, "verify", lambda: other.index(data_of()))  # finishes before we begin
    assert same(corpus.index(data_of()), other.index(data_of()))
    assert len(cached(corpus)) == 1
