"""Opening a corpus: where it lies, and nothing outdated or of another configuration is ever trusted."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_jax.data.corpus.open import corpus_folder, data_root, open_corpus
from bert_jax.data.corpus.prepare import prepare
from bert_jax.errors import UserError
from tests.data.corpus.configs import VOCABULARY, config_of

ROOT = Path(__file__).parents[3]


def test_reading_a_corpus_does_not_import_making_one():
    program = "import sys, bert_jax.data.corpus.open; print(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "bert_jax.data.corpus.shards" in loaded
    making = ("prepare", "stages", "clean", "dedup", "encode", "workers", "beam")
    assert not loaded & {f"bert_jax.data.corpus.{name}" for name in making}
    assert not loaded & {"bert_jax.data.sources.open", "tensorflow", "pyarrow"}


# ---------------------------------------------------------------------------------------------
# Where it lies
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
        {"cleaning__normalize": "nfkc"},
        {"cleaning__min_characters": 5},
        {"tokenizer__kind": "bpe"},
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
        {"data__weights": (0.5,)},
        {"data__short_sequence_probability": 0.0},
        {"masking__rate": 0.3},
        {"train__batch_size": 8},
        {"optim__b1": 0.5},
    ],
)
def test_an_ablation_uses_the_same_folder(tmp_path, changes):
    assert corpus_folder(config_of(tmp_path, **changes)) == corpus_folder(config_of(tmp_path))


def test_a_relative_path_is_another_corpus_elsewhere(tmp_path, monkeypatch):
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        names.append(corpus_folder(config_of(tmp_path, text=None, data__path="text.txt")).name)
    assert names[0] != names[1]
    absolute = config_of(tmp_path, text=None, data__path=str(tmp_path / "b" / "text.txt"))
    assert corpus_folder(absolute).name == names[1]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/classic books.jsonl.gz,b.txt", "classic_books"),
        ("tfds:wikipedia/en:train[:1%]", "wikipedia_en_train_1"),
        ("installed_docs", "installed_docs"),
        ("texts/*.txt", "text"),
    ],
)
def test_the_folder_has_a_name_to_recognise(tmp_path, path, name):
    found = corpus_folder(config_of(tmp_path, text=None, data__path=path)).name
    assert found[:-13] == name


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
        match=r"^no prepared corpus at .*/prepared/text-[0-9a-f]{12}:"
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


def test_a_vocabulary_that_changed_after_the_corpus_was_prepared_is_named(tmp_path):
    config = config_of(tmp_path)
    prepare(config)
    (tmp_path / "given.txt").write_text("\n".join([*VOCABULARY[:-1], "zebra"]) + "\n")
    with pytest.raises(
        UserError, match=r"/given\.txt was changed after the corpus was prepared with it: run"
    ):
        open_corpus(config)
    assert prepare(config)[1] is True
    open_corpus(config)


def test_a_manifest_of_another_corpus_is_refused(tmp_path):
    config, cased = config_of(tmp_path), config_of(tmp_path, tokenizer__lowercase=False)
    ours, theirs = prepare(config)[0].folder, prepare(cased)[0].folder
    (ours / "manifest.json").write_bytes((theirs / "manifest.json").read_bytes())
    for name in ("tokens", "words"):  # even where every size fits
        (ours / f"{name}-00000.npy").write_bytes((theirs / f"{name}-00000.npy").read_bytes())
    (ours / "tokenizer.json").write_bytes((theirs / "tokenizer.json").read_bytes())
    (ours / "tokenizer_config.json").write_bytes((theirs / "tokenizer_config.json").read_bytes())
    with pytest.raises(UserError, match=r"manifest\.json: tokenizer\.lowercase=False must be True; run"):
        open_corpus(config)
    assert prepare(config)[1] is True


def test_another_vocabulary_beside_the_tokens_is_found_on_opening(tmp_path):
    config = config_of(tmp_path)
    file = prepare(config)[0].folder / "vocab.txt"
    file.write_text(file.read_text().replace("the\n", "eht\n"))
    with pytest.raises(UserError, match=r"vocab\.txt: checksum \d+ must be \d+; run `bert-jax prepare`"):
        open_corpus(config)
