"""The entries of data.path: each opened as what it is, all checked first, their inputs numbered through."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from bert_jax.config import DataConfig
from bert_jax.data.sources import files, installed_docs
from bert_jax.data.sources import open as sources
from bert_jax.data.sources.open import open_sources
from bert_jax.errors import UserError


def opened(path, tmp_path, **options):
    return open_sources(DataConfig(path=path, **options), cache_dir=tmp_path / "cache")


def test_every_entry_is_a_source_and_every_file_an_input(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt", "more/c.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    found = opened("more, installed_docs ,*.txt", tmp_path)
    assert [source.name for source in found] == ["more", "installed_docs", "*.txt"]
    kinds = [files.TextFiles, installed_docs.InstalledDocs, files.TextFiles]
    assert [type(source) for source in found] == kinds
    inputs = [(i.source, i.number, i.name) for source in found for i in source.inputs()]
    assert inputs == [
        (0, 0, "more/c.jsonl"),
        (1, 1, "installed_docs"),
        (2, 2, "a.txt"),
        (2, 3, "b.txt"),
    ]
    assert [source.identity()["source"] for source in found] == ["files", "installed_docs", "files"]
    assert json.loads(json.dumps([s.identity() for s in found])) == [s.identity() for s in found]


def test_a_file_that_two_entries_name_belongs_to_the_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("")
    found = opened("b.txt,.", tmp_path)
    assert [[i.name for i in source.inputs()] for source in found] == [["b.txt"], ["a.txt"]]
    with pytest.raises(
        UserError, match=r"the entry 'b\.txt' names no file that an earlier entry does not name"
    ):
        opened(".,b.txt", tmp_path)


def test_all_entries_are_checked_before_any_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("One.")
    monkeypatch.setattr(files.FileInput, "blocks", lambda *_, **__: pytest.fail("was read"))
    with pytest.raises(UserError, match=r"path='missing\.txt': no such file") as caught:
        opened(f"{tmp_path}/a.txt,missing.txt", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        (" , ", r"config\.data\.path=' , ' must name a source"),
        ("tfds:imdb_reviews", r"path='tfds:imdb_reviews' must be tfds:NAME\[/CONFIG\]:SPLIT, such as"),
        ("tfds:a b:train", r"path='tfds:a b:train' must be tfds:NAME"),
        ("http://host/a.txt", r"http://host/a\.txt: http:// is not one of gs://, s3://"),
    ],
)
def test_entries_that_are_none(tmp_path, path, pattern):
    with pytest.raises(UserError) as caught:
        opened(path, tmp_path)
    assert re.search(pattern, str(caught.value)), str(caught.value)


def test_worker_processes_stay_light():
    heavy = "{'numpy', 'jax', 'tensorflow', 'pyarrow', 'etils', 'flax'}"
    code = f"import sys, {sources.__name__}; print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
