"""Remote files, through a bucket that is a local folder: found, listed and read as local ones are."""

from __future__ import annotations

import contextlib
import gzip
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from etils import epath
from etils.epath import backend, register

from bert_jax.data.sources.files import TextFiles
from bert_jax.data.sources.streams import remote_fault
from bert_jax.errors import UserError


class Bucket(backend._OsPathBackend):
    """gs:// as a folder; like TensorFlow's it opens within a context alone, and fails in its own way."""

    root = ""
    broken = False

    def local(self, uri):
        return os.fspath(uri).replace("gs://bucket", self.root)

    @contextlib.contextmanager
    def open(self, path, mode):
        with open(self.local(path), mode) as file:
            yield Handle(file)

    def exists(self, path):
        return super().exists(self.local(path))

    def isdir(self, path):
        return super().isdir(self.local(path))

    def listdir(self, path):
        names = super().listdir(self.local(path))
        return [name + "/" * self.isdir(f"{path}/{name}") for name in names]

    def glob(self, path):
        return [match.replace(self.root, "gs://bucket") for match in super().glob(self.local(path))]

    def stat(self, path):
        return super().stat(self.local(path))


class CloudError(Exception):
    """No OSError, as with TensorFlow."""


class Handle:
    """A file with what TensorFlow's has, and no more."""

    def __init__(self, file):
        self.read, self.seek, self.tell = self._read, file.seek, file.tell
        self._file = file

    def _read(self, size):
        if Bucket.broken:
            raise CloudError("connection reset\nwhen reading")
        return self._file.read(size)


class BucketPath(epath.gpath.PosixGPath):
    bucket = Bucket()

    @property
    def _backend(self):
        return self.bucket


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    monkeypatch.setattr(Bucket, "root", str(tmp_path))
    monkeypatch.setitem(register._URI_PREFIXES_TO_CLS, "gs://", BucketPath)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.txt").write_text("One.\n\nTwo.\n")
    (tmp_path / "deep" / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "Three."}\n'))
    (tmp_path / "deep" / "er" / "c.txt.zst").write_bytes(pa.Codec("zstd").compress(b"Four.\n", asbytes=True))
    (tmp_path / "deep" / "er" / "notes.md").write_text("no text")
    pq.write_table(pa.table({"text": ["Five."]}), tmp_path / "deep" / "er" / "d.parquet")
    return tmp_path


def files(entry):
    return TextFiles(entry, text_field="text")


def texts(entry):
    return [
        document.text.strip()
        for file in files(entry).inputs()
        for block in file.blocks()
        for document in block.documents("text")
    ]


def assert_fault(make, pattern):
    with pytest.raises(UserError) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert re.search(pattern, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("gs://bucket/a.txt", ["One.", "Two."]),
        ("gs://bucket/deep", ["Three.", "Four.", "Five."]),
        ("gs://bucket/deep/", ["Three.", "Four.", "Five."]),
        ("gs://bucket/*.txt", ["One.", "Two."]),
        ("gs://bucket/d*p/e*/*.parquet", ["Five."]),
        ("gs://bucket/d*", ["Three.", "Four.", "Five."]),
    ],
)
def test_remote_files_are_found_and_read(bucket, entry, expected):
    assert texts(entry) == expected


def test_hidden_remote_files_are_passed_over_unless_they_are_named(bucket):
    for name in (".ipynb_checkpoints/a.txt", "er/._c.txt"):
        (bucket / "deep" / name).parent.mkdir(exist_ok=True)
        (bucket / "deep" / name).write_text("Copy.")
    for entry in ("gs://bucket/deep", "gs://bucket/deep/er/*.txt*", "gs://bucket/d*"):
        assert not any("/." in file.name for file in files(entry).inputs())
    named = "gs://bucket/deep/.ipynb_checkpoints/*.txt"
    assert [file.name for file in files(named).inputs()] == ["gs://bucket/deep/.ipynb_checkpoints/a.txt"]


def test_names_sizes_and_identity(bucket):
    source = files("gs://bucket/deep")
    names = ["gs://bucket/deep/b.jsonl.gz", "gs://bucket/deep/er/c.txt.zst", "gs://bucket/deep/er/d.parquet"]
    paths = [bucket / name.removeprefix("gs://bucket/") for name in names]
    assert [file.name for file in source.inputs()] == names
    assert [file.size for file in source.inputs()] == [path.stat().st_size for path in paths]
    assert source.identity()["files"] == [
        [name, path.stat().st_size, int(path.stat().st_mtime)]
        for name, path in zip(names, paths, strict=True)
    ]


@pytest.mark.parametrize(
    ("entry", "pattern"),
    [
        (
            "gs://bucket/missing.txt",
            r"path='gs://bucket/missing\.txt': no such file or folder; correct the path",
        ),
        ("gs://bucket/x*.txt", r"path='gs://bucket/x\*\.txt' matches nothing; correct the glob"),
        ("gs://bucket/**/a.txt", r"'\*\*' works for local files only; name the folder"),
        ("gs://buck*/a.txt", r"the bucket must be named"),
        ("gs://bucket/deep/er/notes.md", r"gs://bucket/deep/er/notes\.md must end in one of \.txt"),
        ("gs://bucket/none", r"holds no text file"),
        (
            "ftp://host/a.txt",
            r"ftp://host/a\.txt: ftp:// is not one of gs://, s3://, az://, hf://; correct the path",
        ),
    ],
)
def test_remote_inputs_are_checked_on_opening(bucket, entry, pattern):
    (bucket / "none").mkdir()
    assert_fault(lambda: files(entry), pattern)


@pytest.mark.parametrize("name", ["a.txt", "deep/b.jsonl.gz", "deep/er/c.txt.zst", "deep/er/d.parquet"])
def test_a_connection_that_breaks(bucket, monkeypatch, name):
    (file,) = files(f"gs://bucket/{name}").inputs()
    monkeypatch.setattr(Bucket, "broken", True)
    assert_fault(
        lambda: list(file.blocks()), rf"gs://bucket/{name}: cannot be read.*connection reset when reading"
    )


def test_a_remote_file_that_vanished(bucket):
    source = files("gs://bucket/a.txt")
    (file,) = source.inputs()
    (bucket / "a.txt").unlink()
    assert_fault(
        lambda: list(file.blocks()), r"gs://bucket/a\.txt: cannot be read: .*No such file or directory"
    )
    assert_fault(source.identity, r"gs://bucket/a\.txt: cannot be read: .*No such file or directory")


def test_a_missing_backend_names_what_to_install(monkeypatch):
    monkeypatch.setattr(epath.gpath, "_is_tf_installed", lambda: False)
    for scheme, package in (("s3", "s3fs"), ("gs", "gcsfs")):
        pytest.importorskip("fsspec")
        with contextlib.suppress(ImportError):
            __import__(package)
            pytest.skip(f"{package} is installed")
        for path in ("a.txt", "*.txt"):
            assert_fault(
                lambda entry=f"{scheme}://bucket/{path}": files(entry),
                rf"{scheme}://bucket/.*: nothing installed reads {scheme}:// \(.*\); pip install {package}, and set"
                r" the environment variable EPATH_USE_TF=0",
            )


def test_tensorflow_without_a_scheme_is_a_missing_backend():
    error = CloudError("File system scheme 's3' not implemented\n(file: 's3://b/x')")
    assert "nothing installed reads s3://" in str(remote_fault("s3://b/x", error))
    assert "\n" not in str(remote_fault("s3://b/x", error))
