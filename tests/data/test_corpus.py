"""Text files and TFDS datasets: the documents they give, and one clear line for every fault."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from bert_jax.config import DataConfig
from bert_jax.data.corpus import Document, open_source
from bert_jax.errors import UserError


def files(path, *, text_field="text"):
    config = DataConfig(source="files", path=str(path), text_field=text_field)
    return open_source(config, cache_dir=Path("unused"))


def rows(*texts: str) -> str:
    return "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts))


def assert_fault(make, pattern: str):
    """`make` fails with one line that matches `pattern`."""
    with pytest.raises(UserError) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    assert re.search(pattern, message), message


def read(path, **options):
    return list(files(path, **options).documents())


# ---------------------------------------------------------------------------------------------
# What the files give
# ---------------------------------------------------------------------------------------------


def test_text_lines_and_blank_lines(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("\n\n  One  \r\ntwo\n \t\n\nThree é\n", encoding="utf-8")
    assert read(file) == [Document(f"{file}:3", ("One", "two")), Document(f"{file}:7", ("Three é",))]


def test_json_lines(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text(rows("One.\n\n  Two.\r\n", " \n ", "Three.") + "\n" + rows("Four."), encoding="utf-8")
    assert read(file) == [
        Document(f"{file}:1", ("One.", "Two.")),
        Document(f"{file}:3", ("Three.",)),
        Document(f"{file}:5", ("Four.",)),
    ]


def test_text_field(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"body": "Here."}\n')
    assert read(file, text_field="body") == [Document(f"{file}:1", ("Here.",))]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_gzip_gives_the_same(tmp_path, name):
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    plain.write_text(rows("One.\nTwo.", "Three."))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert [d.lines for d in read(packed)] == [d.lines for d in read(plain)]
    assert read(packed)[0].name == f"{packed}:1"


def test_byte_order_mark_is_dropped(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("Text.\n", encoding="utf-8-sig")
    assert read(file)[0].lines == ("Text.",)


def test_paths_folders_and_globs_sorted_each_once(tmp_path, monkeypatch):
    for name in ("b/z.txt", "b/deep/y.jsonl", "a.txt", "c1.txt", "c2.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(rows(name))
    (tmp_path / "b" / "notes.md").write_text("no text")
    monkeypatch.chdir(tmp_path)
    names = [document.name for document in read("c*.txt, b ,a.txt,b/z.txt,**/y.jsonl")]
    assert names == ["a.txt:1", "b/deep/y.jsonl:1", "b/z.txt:1", "c1.txt:1", "c2.txt:1"]


def test_reading_twice_gives_the_same(tmp_path):
    (tmp_path / "a.txt").write_text("One.\n\nTwo.\n")
    source = files(tmp_path)
    assert list(source.documents()) == list(source.documents())


def test_identity_is_json_and_follows_the_files(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("One.\n")
    before = files(file).identity()
    assert before["files"] == [[str(file), 5, file.stat().st_mtime_ns]]
    assert json.loads(json.dumps(before)) == before == files(tmp_path).identity()
    os.utime(file, ns=(0, 0))
    assert files(file).identity() != before


def test_files_are_streamed(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(b"One.\n\n" + b"Two.\n\n" * 100_000 + b"\xff")
    documents = files(file).documents()
    assert next(documents).lines == ("One.",)  # long before the fault at the end
    documents.close()


# ---------------------------------------------------------------------------------------------
# Faults of files
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("missing.txt", r"path='missing\.txt': no such file or folder \(looked in /.*\)"),
        ("x*.txt", r"path='x\*\.txt' matches nothing in /.*"),
        ("empty", r"path='empty' holds no text file \(\.txt, \.jsonl, \.txt\.gz, \.jsonl\.gz\)"),
        ("a.csv", r"path='a\.csv': a\.csv must end in one of \.txt, "),
        ("*.csv", r"path='\*\.csv': .*a\.csv must end in one of \.txt, "),
        (" , ", r"path=' , ' names no file"),
    ],
)
def test_inputs_are_checked_on_opening(tmp_path, monkeypatch, path, pattern):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").write_text("a,b")
    monkeypatch.chdir(tmp_path)
    assert_fault(lambda: files(path), pattern)


@pytest.mark.parametrize(
    ("name", "content", "pattern"),
    [
        ("a.txt", b"Good.\nB\xe9d.\n", r"a\.txt:2: byte 0xe9 at offset 7 of the text is not UTF-8; .*iconv"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"a\.jsonl:2: not JSON: Expecting value at column \d+"),
        (
            "a.jsonl",
            b'{"id": 1, "body": "a"}',
            r"a\.jsonl:1: the object has no field 'text' .* it has: id, body",
        ),
        ("a.jsonl", b"{}", r"a\.jsonl:1: the object has no field 'text' .* it has: none"),
        ("a.jsonl", b'{"text": 3}', r"a\.jsonl:1: the field 'text' holds int, must be text"),
        ("a.jsonl", b'["text"]', r"a\.jsonl:1: holds list, must be an object with the field 'text'"),
        ("a.jsonl", b'{"text": ' + b"9" * 5000 + b"}", r"a\.jsonl:1: JSON that cannot be read: .*limit"),
        (
            "a.jsonl",
            rb'{"text": "a\ud800"}',
            r"a\.jsonl:1: .* half a surrogate pair \(\\ud800\) at character 1",
        ),
        (
            "a.txt.gz",
            b"plain",
            r"a\.txt\.gz: ends in \.gz but is not sound gzip after line 0 \(Not a gzipped",
        ),
        (
            "a.txt.gz",
            gzip.compress(b"a\n" * 99)[:-9],
            r"a\.txt\.gz: the gzip data is truncated or damaged after line",
        ),
        ("a.txt", b" \n\n", r"path='.*' holds no text: its 1 files have blank lines only"),
    ],
)
def test_faults_in_files(tmp_path, name, content, pattern):
    (tmp_path / name).write_bytes(content)
    assert_fault(lambda: read(tmp_path), pattern)


def test_damaged_gzip(tmp_path):
    data = bytearray(gzip.compress(os.urandom(1000).hex().encode()))
    data[200:220] = bytes(20)
    (tmp_path / "a.txt.gz").write_bytes(data)
    assert_fault(lambda: read(tmp_path), r"a\.txt\.gz: .*after line \d+")


def test_a_file_that_vanished(tmp_path):
    (tmp_path / "a.txt").write_text("One.")
    (tmp_path / "b.txt").write_text("Two.")
    documents = files(tmp_path).documents()
    next(documents)
    (tmp_path / "b.txt").unlink()
    pattern = r"b\.txt: cannot be read: No such file or directory"
    assert_fault(lambda: list(documents), pattern)
    source = files(tmp_path / "a.txt")
    (tmp_path / "a.txt").unlink()
    assert_fault(source.identity, pattern.replace("b", "a", 1))
    assert_fault(lambda: list(source.documents()), pattern.replace("b", "a", 1))


# ---------------------------------------------------------------------------------------------
# TFDS
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> DataConfig:
    """A real dataset in four files, written with TFDS."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    root = tmp_path_factory.mktemp("tfds")
    folder = root / "tiny_text" / "plain" / "1.0.0"
    folder.mkdir(parents=True)
    identity = tfds.core.DatasetIdentity(
        name="tiny_text",
        version=tfds.core.Version("1.0.0"),
        data_dir=str(folder),
        module_name="",
        config_name="plain",
        config_description="",
        config_tags=[],
        release_notes={},
    )
    features = {
        "text": tfds.features.Text(),
        "label": tfds.features.Scalar(tf.int64),
        "body": tfds.features.Text(),
    }
    info = tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features))
    writer = tfds.core.SequentialWriter(info, max_examples_per_shard=2)
    writer.initialize_splits(["train", "broken", "blank"])
    texts = ["One.\n\n Two. ", " \n ", "Three é.", "Four.", "Five."]
    splits = {"train": [t.encode() for t in texts], "broken": [b"fine", b"b\xffd"], "blank": [b" "]}
    for split, values in splits.items():
        writer.add_examples({split: [{"text": v, "label": 1, "body": b"other"} for v in values]})
    writer.close_all()
    return DataConfig(source="tfds", path="tiny_text/plain", tfds_dir=str(root))


def tfds_source(prepared, **changes):
    return open_source(dataclasses.replace(prepared, **changes), cache_dir=Path("unused"))


def test_tfds_documents_in_order_each_time(prepared):
    source = tfds_source(prepared)
    documents = list(source.documents())
    assert documents == [
        Document("tiny_text/plain:train:0", ("One.", "Two.")),
        Document("tiny_text/plain:train:2", ("Three é.",)),
        Document("tiny_text/plain:train:3", ("Four.",)),
        Document("tiny_text/plain:train:4", ("Five.",)),
    ]
    assert list(source.documents()) == documents == list(tfds_source(prepared).documents())


def test_tfds_slice_and_field(prepared):
    documents = tfds_source(prepared, split="train[60%:]", text_field="body").documents()
    assert [document.lines for document in documents] == [("other",)] * 2


def test_tfds_identity(prepared):
    identity = tfds_source(prepared).identity()
    assert json.loads(json.dumps(identity)) == identity == tfds_source(prepared).identity()
    assert identity["dataset"] == "tiny_text/plain/1.0.0"
    assert [Path(file[0]).name[-5:] for file in identity["files"]] == ["00000", "00001", "00002"]
    assert identity != tfds_source(prepared, split="blank").identity()
    assert identity != tfds_source(prepared, text_field="body").identity()


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        (
            {"path": "tiny_txt_nobody_has"},
            r"'tiny_txt_nobody_has' is neither a dataset that TFDS knows nor prepared in",
        ),
        ({"path": "imdb_review"}, r"neither .*; did you mean 'imdb_reviews'\?"),
        ({"path": "tiny_text/other"}, r"is not prepared in .*, which holds: tiny_text/plain/1\.0\.0$"),
        (
            {"path": "imdb_reviews"},
            r"'imdb_reviews' is not prepared in .*; run: tfds build imdb_reviews --data_dir",
        ),
        (
            {"path": "imdb_reviews/bad"},
            r"TFDS knows 'imdb_reviews' but not 'bad': .*BuilderConfig bad not found",
        ),
        ({"path": "hugging:face/x"}, r"must be name or name/config"),
        ({"tfds_dir": "/nowhere/at/all"}, r"tfds_dir='/nowhere/at/all': no such folder"),
        (
            {"split": "valid"},
            r"split='valid' is not in tiny_text/plain/1\.0\.0; it has: train, broken, blank",
        ),
        ({"text_field": "boddy"}, r"text_field='boddy' is not a feature of .*; it has: body, label, text$"),
        (
            {"text_field": "label"},
            r"text_field='label' of .* is .*int64.*, must be text; text features: body, text",
        ),
    ],
)
def test_tfds_inputs_are_checked_on_opening(prepared, changes, pattern):
    assert_fault(lambda: tfds_source(prepared, **changes), pattern)


def test_tfds_text_that_is_not_utf8(prepared):
    source = tfds_source(prepared, split="broken")
    assert_fault(
        lambda: list(source.documents()),
        r"tiny_text/plain:broken:1: byte 0xff at offset 1 of the field 'text'",
    )


def test_tfds_without_text(prepared):
    source = tfds_source(prepared, split="blank")
    assert_fault(
        lambda: list(source.documents()), r"'tiny_text/plain' holds no text: .* blank in all 1 examples"
    )


def test_tfds_damaged_file(prepared, tmp_path):
    shutil.copytree(prepared.tfds_dir, tmp_path, dirs_exist_ok=True)
    source = tfds_source(prepared, tfds_dir=str(tmp_path))
    shard = next(tmp_path.rglob("*train*00001"))
    shard.write_bytes(shard.read_bytes()[:20])
    assert_fault(
        lambda: list(source.documents()), r"plain/1\.0\.0: cannot be read: .*; prepare the dataset again"
    )
