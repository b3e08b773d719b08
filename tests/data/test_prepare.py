"""Preparing a corpus: what is written is the text, and nothing half-made or outdated is ever trusted."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bert_jax.config import Config, resolve
from bert_jax.data import prepare as module
from bert_jax.data.instances import load_index
from bert_jax.data.prepare import corpus_folder, data_root, open_corpus, prepare
from bert_jax.data.shards import TokenShards
from bert_jax.errors import UserError
from bert_jax.text import sentences, tokenizer

ROOT = Path(__file__).parents[2]

TEXT = """\
The first document has two sentences. Here is the second one!
It goes on, on another line: no sentence crosses it.

The second document is short. It mentions [MASK] and [SEP] as words.

A third document, with a Greek letter: Ω. What is it for?
"""

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY += [*"abcdefghijklmnopqrstuvwxyz.,:!?[]", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"), "the"]


def config_of(folder: Path, *, text: str | None = TEXT, **changes) -> Config:
    """The configuration that prepares folder/text.txt, which is written unless `text` is None."""
    if text is not None:
        (folder / "text.txt").write_text(text, encoding="utf-8")
    vocabulary = folder / "given.txt"
    vocabulary.write_text("".join(f"{token}\n" for token in VOCABULARY))
    raw = {
        "data": {"source": "files", "path": str(folder / "text.txt"), "directory": str(folder / "prepared")},
        "tokenizer": {"path": str(vocabulary), "vocab_size": len(VOCABULARY)},
    }
    for name, value in changes.items():
        group, _, field = name.partition("__")
        raw.setdefault(group, {})[field] = value
    return resolve(raw)


def contents(folder: Path) -> dict[str, str]:
    """Checksum of every file; times of the text files, which the manifest holds, left out."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.name == "manifest.json":
            manifest = json.loads(data)
            manifest["text"]["files"] = [[name, size] for name, size, _ in manifest["text"]["files"]]
            data = json.dumps(manifest).encode()
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def documents_of(shards: TokenShards) -> list[list[list[int]]]:
    tokens = np.concatenate([np.load(file) for file in sorted(shards.folder.glob("tokens-*.npy"))]).tolist()
    starts, bounds = shards.sentence_starts.tolist(), shards.document_starts.tolist()
    cut = [tokens[a:b] for a, b in itertools.pairwise(starts)]
    return [cut[a:b] for a, b in itertools.pairwise(bounds)]


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


# ---------------------------------------------------------------------------------------------
# What is written
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["rule", "line"])
def test_the_corpus_is_the_text_encoded_sentence_by_sentence(tmp_path, mode):
    shards, made = prepare(config_of(tmp_path, data__sentences=mode))
    assert made
    vocabulary = tokenizer.load(tmp_path / "given.txt")
    split = sentences.split if mode == "rule" else lambda line: [line]
    expected = [
        [vocabulary.encode(s) for line in document.split("\n") if line for s in split(line)]
        for document in TEXT.split("\n\n")
    ]
    assert documents_of(shards) == expected
    assert [len(document) for document in expected] == ([3, 2, 2] if mode == "rule" else [2, 1, 1])


def test_text_that_names_special_tokens_gets_no_structure_from_them(tmp_path):
    shards, _ = prepare(config_of(tmp_path))
    special = shards.special
    tokens = {token for document in documents_of(shards) for ids in document for token in ids}
    assert not tokens & {special.pad, special.cls, special.sep, special.mask}
    assert special.unk in tokens  # the Greek letter


def test_the_manifest_counts_characters_unknown_pieces_and_empty_documents(tmp_path):
    shards, _ = prepare(config_of(tmp_path, text=TEXT + "\n\u200b\n\nΩ Ω a\n", data__sentences="line"))
    lines = [line for line in TEXT.split("\n") if line] + ["\u200b", "Ω Ω a"]
    assert shards.manifest["counts"] == {
        "characters": sum(map(len, lines)),
        "unknown": 3,
        "empty_documents": 1,  # a zero-width space is no token
        "unused_entries": 0,
    }
    assert shards.manifest["documents"] == 4


def test_a_prepared_folder_holds_the_vocabulary_that_transformers_reads(tmp_path):
    shards, _ = prepare(config_of(tmp_path))
    for name in ("vocab.txt", "tokenizer.json"):
        assert tokenizer.load(shards.folder / name).vocab_size == len(VOCABULARY)
    assert shards.vocab_size == len(VOCABULARY)
    assert (shards.folder / "vocab.txt").read_bytes() == (tmp_path / "given.txt").read_bytes()


def test_a_vocabulary_is_trained_when_none_is_given(tmp_path):
    shards, _ = prepare(config_of(tmp_path, tokenizer__path="", tokenizer__vocab_size=300))
    vocabulary = tokenizer.load(shards.folder / "tokenizer.json")
    assert vocabulary.vocab_size == shards.vocab_size == 300
    assert documents_of(shards)[0][0] == vocabulary.encode("The first document has two sentences.")


def test_encoding_in_small_batches_gives_the_same(tmp_path, monkeypatch):
    config = config_of(tmp_path)
    once = contents(prepare(config)[0].folder)
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, directory=str(tmp_path / "2")))
    monkeypatch.setattr(module, "_SENTENCES_PER_BATCH", 2)
    assert contents(prepare(other)[0].folder) == once


def test_two_runs_write_the_same_bytes(tmp_path):
    config = config_of(tmp_path)
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, directory=str(tmp_path / "2")))
    first, second = contents(prepare(config)[0].folder), contents(prepare(other)[0].folder)
    assert first == second
    assert {"manifest.json", "tokens-00000.npy", "vocab.txt", "tokenizer.json"} <= set(first)
    config_of(tmp_path, text=TEXT.replace("third", "fourth"))
    assert contents(prepare(other)[0].folder) != first


def test_two_runs_that_train_the_vocabulary_write_the_same_bytes(tmp_path):
    words = [f"{a}{b}{c}" for a in "bcdfghjk" for b in "aeiouy" for c in "lmnpqrst"]
    text = " ".join(words) + "\n"
    config = config_of(tmp_path, text=text, tokenizer__path="", tokenizer__vocab_size=100)
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, directory=str(tmp_path / "2")))
    assert contents(prepare(config)[0].folder) == contents(prepare(other)[0].folder)


# ---------------------------------------------------------------------------------------------
# Where it is
# ---------------------------------------------------------------------------------------------


def test_the_root_is_the_field_else_the_variable_else_the_cache(tmp_path, monkeypatch):
    config = config_of(tmp_path)
    elsewhere = dataclasses.replace(config, data=dataclasses.replace(config.data, directory=""))
    monkeypatch.setenv("BERT_JAX_DATA", "/from/variable")
    assert data_root(config) == tmp_path / "prepared"
    assert data_root(elsewhere) == Path("/from/variable")
    monkeypatch.delenv("BERT_JAX_DATA")
    monkeypatch.setenv("HOME", "/home/x")
    assert data_root(elsewhere) == Path("/home/x/.cache/bert_jax")


@pytest.mark.parametrize(
    "changes",
    [
        {"data__path": "other.txt"},
        {"data__text_field": "body"},
        {"data__sentences": "line"},
        {"data__source": "tfds"},
        {"data__split": "test"},
        {"data__tfds_dir": "x"},
        {"tokenizer__path": ""},
        {"tokenizer__lowercase": False},
        {"tokenizer__vocab_size": 500},
    ],
)
def test_what_decides_the_tokens_decides_the_folder(tmp_path, changes):
    assert corpus_folder(config_of(tmp_path, **changes)).name != corpus_folder(config_of(tmp_path)).name


@pytest.mark.parametrize(
    "changes",
    [
        {"data__sentence_objective": "sop"},
        {"data__sequence_length": 64},
        {"data__eval_fraction": 0.5},
        {"data__short_sequence_probability": 0.0},
        {"masking__rate": 0.3},
        {"train__batch_size": 8},
        {"optim__b1": 0.5},
    ],
)
def test_an_ablation_uses_the_same_folder(tmp_path, changes):
    assert corpus_folder(config_of(tmp_path, **changes)) == corpus_folder(config_of(tmp_path))


# ---------------------------------------------------------------------------------------------
# Again
# ---------------------------------------------------------------------------------------------


def test_a_second_run_finds_the_corpus_and_touches_nothing(tmp_path):
    config = config_of(tmp_path)
    first, made = prepare(config)
    load_index(first, config_of(tmp_path, text=None, data__eval_fraction=0.0), "train")
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    second, made_again = prepare(config)
    assert (made, made_again) == (True, False)
    assert {path: path.stat().st_mtime_ns for path in second.folder.rglob("*")} == before
    assert second.digest == first.digest


def test_changed_text_is_prepared_again(tmp_path):
    first, _ = prepare(config_of(tmp_path))
    second, made = prepare(config_of(tmp_path, text=TEXT + "\nA new document.\n"))
    assert made
    assert second.folder == first.folder
    assert second.manifest["documents"] == first.manifest["documents"] + 1
    assert prepare(config_of(tmp_path, text=None))[1] is False


def test_another_file_in_the_folder_of_texts_is_seen(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text(TEXT)
    config = config_of(tmp_path, text=None, data__path=str(texts))
    prepare(config)
    (texts / "b.txt").write_text("More text.\n")
    shards, made = prepare(config)
    assert made and shards.manifest["documents"] == 4


# ---------------------------------------------------------------------------------------------
# Opening for training
# ---------------------------------------------------------------------------------------------


def test_opening_gives_what_was_prepared(tmp_path):
    config = config_of(tmp_path)
    shards, _ = prepare(config)
    assert open_corpus(config).digest == shards.digest


def test_a_corpus_that_is_not_prepared_names_the_command(tmp_path):
    with pytest.raises(
        UserError,
        match=r"^no prepared corpus at .*/prepared/files-[0-9a-f]{12}:"
        r" run `bert-jax prepare --config experiments/x\.py` first$",
    ):
        open_corpus(config_of(tmp_path), experiment="experiments/x.py")


def test_text_that_changed_after_it_was_prepared_is_named(tmp_path):
    config = config_of(tmp_path)
    prepare(config)
    file = tmp_path / "text.txt"
    size = file.stat().st_size
    file.write_text(file.read_text(encoding="utf-8") + "x", encoding="utf-8")
    with pytest.raises(
        UserError,
        match=rf"/text\.txt was changed after it was prepared \({size} bytes then, {size + 1} now\):"
        r" run `bert-jax prepare --config x\.py` again$",
    ):
        open_corpus(config, experiment="x.py")


def test_text_of_the_same_size_but_another_time_counts_as_changed(tmp_path):
    config = config_of(tmp_path)
    prepare(config)
    os.utime(tmp_path / "text.txt", ns=(0, 0))
    with pytest.raises(UserError, match=r"text\.txt was changed after it was prepared"):
        open_corpus(config)


def test_a_machine_that_only_trains_needs_no_text(tmp_path):
    config = config_of(tmp_path)
    shards, _ = prepare(config)
    (tmp_path / "text.txt").unlink()
    (tmp_path / "given.txt").unlink()
    assert open_corpus(config).digest == shards.digest


class _Edited:
    """A source whose file grows just after it was read."""

    def __init__(self, source, file: Path):
        self._source, self._file = source, file

    def identity(self):
        return self._source.identity()

    def documents(self):
        yield from self._source.documents()
        with self._file.open("a") as stream:
            stream.write("Too late.\n")


def test_text_that_changes_while_it_is_prepared_counts_as_changed(tmp_path, monkeypatch):
    config = config_of(tmp_path)
    original = module.open_source
    with monkeypatch.context() as patch:
        patch.setattr(
            module, "open_source", lambda *a, **k: _Edited(original(*a, **k), tmp_path / "text.txt")
        )
        prepare(config)
    with pytest.raises(UserError, match=r"text\.txt was changed after it was prepared"):
        open_corpus(config)
    assert prepare(config)[1] is True


# ---------------------------------------------------------------------------------------------
# Killed and damaged
# ---------------------------------------------------------------------------------------------


class _Failing:
    """A source that gives one document and then fails."""

    def __init__(self, source, error: BaseException):
        self._source, self._error = source, error

    def identity(self):
        return self._source.identity()

    def documents(self):
        yield next(self._source.documents())
        raise self._error


def fail_with(monkeypatch, error: BaseException) -> None:
    original = module.open_source
    monkeypatch.setattr(module, "open_source", lambda *a, **k: _Failing(original(*a, **k), error))


@pytest.mark.parametrize("error", [RuntimeError("disk"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_run_that_fails_leaves_nothing(tmp_path, monkeypatch, error):
    config = config_of(tmp_path)
    with monkeypatch.context() as patch:
        fail_with(patch, error)
        with pytest.raises(type(error)):
            prepare(config)
    assert list((tmp_path / "prepared").iterdir()) == []
    with pytest.raises(UserError, match=r"^no prepared corpus"):
        open_corpus(config)
    assert prepare(config)[1] is True


def test_a_run_that_fails_leaves_the_older_corpus_in_place(tmp_path, monkeypatch):
    before = contents(prepare(config_of(tmp_path))[0].folder)
    config = config_of(tmp_path, text=TEXT + "\nMore.\n")
    with monkeypatch.context() as patch:
        fail_with(patch, RuntimeError("disk"))
        with pytest.raises(RuntimeError, match="disk"):
            prepare(config)
    assert contents(corpus_folder(config)) == before
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == [corpus_folder(config).name]


def test_a_killed_run_is_not_trusted_and_its_remains_are_removed(tmp_path):
    config = config_of(tmp_path)
    program = (
        "import json, os, signal, sys\n"
        "from bert_jax.config import resolve\n"
        "from bert_jax.data import prepare, shards\n"
        "original = shards.ShardWriter.finish\n"
        "def finish(self, **about):\n"
        "    original(self, **about)  # even the manifest is written\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "shards.ShardWriter.finish = finish\n"
        "prepare.prepare(resolve(json.loads(sys.argv[1])))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program, json.dumps(dataclasses.asdict(config))],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert process.returncode == -signal.SIGKILL
    (remains,) = (tmp_path / "prepared").iterdir()
    assert ".partial-" in remains.name
    assert (remains / "manifest.json").is_file()
    with pytest.raises(UserError, match=r"^no prepared corpus"):
        open_corpus(config)
    shards, made = prepare(config)
    assert made
    assert list((tmp_path / "prepared").iterdir()) == [shards.folder]


def partial(config: Config, pid: int) -> Path:
    folder = corpus_folder(config)
    stale = folder.with_name(f"{folder.name}.partial-{pid}")
    stale.mkdir(parents=True)
    (stale / "manifest.json").write_text("{}")
    return stale


def test_the_folder_of_a_dead_process_is_removed_and_of_a_live_one_is_not(tmp_path):
    config = config_of(tmp_path)
    dead, alive = partial(config, dead_pid()), partial(config, os.getppid())
    prepare(config)
    assert not dead.exists()
    assert alive.exists()


def test_the_folder_of_an_earlier_process_with_our_number_is_no_obstacle(tmp_path):
    """In a container every run may have the same process number."""
    config = config_of(tmp_path)
    partial(config, os.getpid())
    shards, made = prepare(config)
    assert made
    assert list((tmp_path / "prepared").iterdir()) == [shards.folder]


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-2], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: b""],
    ids=["truncated", "flipped bit", "empty"],
)
@pytest.mark.parametrize("name", ["tokens-00000.npy", "sentences-00000.npy", "manifest.json"])
def test_preparing_again_mends_a_damaged_corpus(tmp_path, name, change):
    """Every message about damage says to run `prepare` again, so that must help."""
    config = config_of(tmp_path)
    shards, _ = prepare(config)
    before = contents(shards.folder)
    file = shards.folder / name
    file.write_bytes(change(file.read_bytes()))
    mended, made = prepare(config)
    assert made
    assert contents(mended.folder) == before
    mended.verify()


# ---------------------------------------------------------------------------------------------
# Text and vocabularies that do not do
# ---------------------------------------------------------------------------------------------


def test_a_vocabulary_of_another_size_is_named(tmp_path):
    config = config_of(tmp_path, tokenizer__vocab_size=1000)
    with pytest.raises(
        UserError,
        match=rf"^config\.tokenizer\.vocab_size=1000 must equal the size of .*/given\.txt: {len(VOCABULARY)}$",
    ):
        prepare(config)
    assert list((tmp_path / "prepared").iterdir()) == []


def test_a_vocabulary_too_small_to_train_is_named(tmp_path):
    config = config_of(tmp_path, tokenizer__path="", tokenizer__vocab_size=10)
    with pytest.raises(UserError, match=r"^config\.tokenizer\.vocab_size=10 must be >= \d+"):
        prepare(config)


def test_text_without_a_single_token_is_no_corpus(tmp_path):
    config = config_of(tmp_path, text="\u200b\n")
    with pytest.raises(UserError, match=r"the text of config\.data\.path=.* has no token: "):
        prepare(config)
    assert list((tmp_path / "prepared").iterdir()) == []


def test_missing_text_is_a_fault_of_prepare(tmp_path):
    config = config_of(tmp_path)
    (tmp_path / "text.txt").unlink()
    with pytest.raises(UserError, match=r"text\.txt'?: no such file or folder"):
        prepare(config)
