"""Preparing on Apache Beam writes the same bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bert_jax.config import PretrainConfig, resolve
from bert_jax.data.corpus.beam import BeamEngine
from bert_jax.data.corpus.open import corpus_folder
from bert_jax.data.corpus.prepare import prepare
from bert_jax.errors import UsageError, UserError


@pytest.fixture
def engine() -> BeamEngine:
    pytest.importorskip("apache_beam", reason="apache-beam is not installed: pip install '.[beam]'")
    return BeamEngine()


def config_of(path: str, directory: Path) -> PretrainConfig:
    return resolve(
        {
            "data": {"path": path, "directory": str(directory)},
            "cleaning": {"boilerplate_documents": 5},
            "tokenizer": {"vocab_size": 150},
        }
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_beam_writes_the_bytes_that_processes_write(tmp_path, engine):
    for name, first in (("a.txt", 0), ("b.txt", 40)):
        texts = [f"Number {n} of {n % 7} and {n**5}.\nThe footer." for n in range(first, first + 60)]
        (tmp_path / name).write_text("\n\n".join(texts))
    path = f"{tmp_path}/a.txt,{tmp_path}/b.txt"
    expected, _ = prepare(config_of(path, tmp_path / "processes"), block_bytes=500)
    found, made = prepare(config_of(path, tmp_path / "beam"), block_bytes=500, engine=engine)
    assert made
    assert found.manifest["counts"]["duplicate_documents"] == 20
    assert found.manifest["counts"]["boilerplate_lines"] == 100
    assert contents(found.folder) == contents(expected.folder)


def test_a_fault_of_the_text_is_one_line_as_ever(tmp_path, engine):
    file = tmp_path / "bad.jsonl"
    file.write_text('{"text": "fine"}\nnot JSON\n')
    config = config_of(str(file), tmp_path)
    with pytest.raises(UserError) as fault:
        prepare(config, engine=engine)
    assert str(fault.value).startswith(f"{file}:2: not JSON: ")
    assert str(fault.value).endswith("has one object per line")
    assert not corpus_folder(config).exists()


def test_of_faults_in_several_blocks_one_is_raised_and_what_was_done_is_kept(tmp_path, engine):
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text('{"text": "fine"}\nnot JSON\n')
    (tmp_path / "c.jsonl").write_text('{"text": "fine too"}\n')
    config = config_of(f"{tmp_path}/*.jsonl", tmp_path / "out")
    with pytest.raises(UserError, match=rf"^{tmp_path}/a\.jsonl:2: not JSON"):
        prepare(config, engine=engine)
    partial = corpus_folder(config).with_name(f"{corpus_folder(config).name}.partial")
    assert (partial / "scanned-00002-00000.npz").exists()
    assert not (partial / "fault.txt").exists()


def test_a_file_that_cannot_be_read_is_a_fault_too(tmp_path, engine):
    file = tmp_path / "bad.jsonl.gz"
    file.write_bytes(b"not gzip")
    with pytest.raises(UserError, match=r"bad\.jsonl\.gz: ends in \.gz but is not valid gzip"):
        prepare(config_of(str(file), tmp_path / "out"), engine=engine)


@pytest.fixture
def without_beam(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam.options.pipeline_options", None)
    monkeypatch.setitem(sys.modules, "apache_beam", None)


@pytest.mark.usefixtures("without_beam")
@pytest.mark.parametrize("options", ["DirectRunner", "--runner=DirectRunner x", "--runner='DirectRunner"])
def test_wrong_options_are_usage_whether_or_not_beam_is_installed(options):
    with pytest.raises(UsageError, match=r"^--beam"):
        BeamEngine(options)


@pytest.mark.usefixtures("without_beam")
def test_without_beam_one_line_says_how_to_get_it():
    with pytest.raises(UserError, match=r"^--beam needs Apache Beam: pip install 'bert_jax\[beam\]'$"):
        BeamEngine("--runner=DirectRunner")
