"""Files of every kind, packed or not, here or remote: the documents they give, and one clear line for every fault."""

from __future__ import annotations

import dataclasses
import gzip
import json
import logging
import os
import pickle
import re
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_jax.data.sources.blocks import Document
from bert_jax.data.sources.files import ENDINGS, TextFiles
from bert_jax.errors import UserError


def rows(*texts: str | None) -> str:
    return "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts))


def fault_of(make) -> str:
    with pytest.raises(UserError) as caught:
        make()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_fault(make, pattern: str):
    """`make` fails with one line that matches `pattern`."""
    message = fault_of(make)
    assert re.search(pattern, message), message


def files(path, *, text_field="text"):
    return TextFiles(str(path), text_field=text_field)


def blocks(path, *, text_field="text", **sizes):
    return [block for file in files(path, text_field=text_field).inputs() for block in file.blocks(**sizes)]


def read(path, *, text_field="text", **sizes):
    found = blocks(path, text_field=text_field, **sizes)
    return [document for block in found for document in block.documents(text_field)]


def skipped(path, **sizes):
    total: Counter[str] = Counter()
    for block in blocks(path, **sizes):
        total.update(block.skipped)
        list(block.documents("text", skipped=total))
    return total


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


def parquet(path: Path, values, *, kind=None, **options) -> None:
    values = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
    pq.write_table(pa.table({"id": range(len(values)), "text": values}), path, **options)


# ---------------------------------------------------------------------------------------------
# What the files give
# ---------------------------------------------------------------------------------------------


def test_text_and_its_blank_lines(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("\n\n  One  \r\ntwo\n \t\r\n\nThree é\0".encode())
    assert read(file) == [Document(f"{file}:3", "  One  \r\ntwo"), Document(f"{file}:7", "Three é\0")]
    assert read(file)[0].lines == ("  One  \r", "two")


def test_json_lines(tmp_path):
    file = tmp_path / "a.jsonl"
    content = rows("One.\n\n  Two.\r\n", " \n ", "Three.") + "\r\n" + '{"text": "a\0\\u0000\\ud83d\\ude00"}'
    file.write_bytes(content.encode())
    assert read(file) == [
        Document(f"{file}:1", "One.\n\n  Two.\r\n"),
        Document(f"{file}:2", " \n "),
        Document(f"{file}:3", "Three."),
        Document(f"{file}:5", "a\0\0\U0001f600"),
    ]


def test_text_field(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"body": "Here."}\n')
    assert read(file, text_field="body") == [Document(f"{file}:1", "Here.")]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_packed_files_give_the_same_blocks(tmp_path, name):
    content = rows(*(f"Text {n} é.\n" * 20 for n in range(100))).replace("}\n", "}\n\n").encode()
    half = len(content) // 2
    packed = {
        "": content,
        ".gz": gzip.compress(content[:half]) + gzip.compress(content[half:]),  # two members
        ".zst": zstd(content[:half]) + zstd(content[half:]),  # two frames
    }
    found = []
    for ending, data in packed.items():
        path = tmp_path / ending[1:] / (name + ending)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        of_file = blocks(path, block_bytes=5000)
        assert len(of_file) > 5
        assert of_file[-1].position == len(data)
        assert all(pickle.loads(pickle.dumps(block)) == block for block in of_file)
        found.append([dataclasses.replace(block, name="") for block in of_file])
    assert found[0] == found[1] == found[2]


def test_byte_order_mark_is_dropped(tmp_path):
    (tmp_path / "a.txt").write_text("Text.\n", encoding="utf-8-sig")
    (tmp_path / "b.jsonl").write_text(rows("Text."), encoding="utf-8-sig")
    assert [document.text for document in read(tmp_path)] == ["Text.\n", "Text."]


def test_places_are_exact_in_every_block(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"{n}\nx\n\n" for n in range(500)))
    (tmp_path / "b.jsonl").write_text(rows(*map(str, range(500))))
    of_text, of_rows = read(tmp_path / "a.txt", block_bytes=64), read(tmp_path / "b.jsonl", block_bytes=64)
    assert [int(d.name.rpartition(":")[2]) for d in of_text] == [3 * int(d.lines[0]) + 1 for d in of_text]
    assert [int(d.name.rpartition(":")[2]) for d in of_rows] == [int(d.text) + 1 for d in of_rows]
    assert len(blocks(tmp_path / "a.txt", block_bytes=64)) > 20


def test_what_is_too_long_is_skipped_and_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text(rows("One.", "long " * 1000, "Two.", "long " * 300, "Three."))
    (tmp_path / "b.txt").write_text(
        "One.\n\n" + "long " * 1000 + "\n\nTwo.\n" + "Three.\n" * 40 + "\nFour.\n"
    )
    sizes = {"block_bytes": 100, "limit": 200}
    documents = read(tmp_path / "a.jsonl", **sizes)
    assert [(d.name.rpartition(":")[2], d.text) for d in documents] == [
        ("1", "One."),
        ("3", "Two."),
        ("5", "Three."),
    ]
    assert skipped(tmp_path / "a.jsonl", **sizes) == {"too_long": 2}
    lines = [line for document in read(tmp_path / "b.txt", **sizes) for line in document.lines if line]
    assert lines == ["One.", "Two.", *["Three."] * 40, "Four."]
    assert skipped(tmp_path / "b.txt", **sizes) == {"too_long": 1, "cut": 1}


def test_empty_files_have_no_documents(tmp_path):
    for name in ("a.txt", "b.jsonl", "c.txt.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"")
    (tmp_path / "d.txt").write_text(" \n\n\t")
    parquet(tmp_path / "e.parquet", [], kind=pa.string())
    assert read(tmp_path) == []


# ---------------------------------------------------------------------------------------------
# Parquet
# ---------------------------------------------------------------------------------------------

_TEXTS = ["One.", "", None, "Three é.\nFour.", "Five."]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_parquet(tmp_path, kind, ending):
    plain = tmp_path / "a.parquet"
    parquet(plain, pa.array(_TEXTS, pa.string()).cast(kind), row_group_size=2)
    file = tmp_path / f"a.parquet{ending}"
    if ending:
        file.write_bytes(gzip.compress(plain.read_bytes()) if ending == ".gz" else zstd(plain.read_bytes()))
    expected = [Document(f"{file}:{n}", text) for n, text in enumerate(_TEXTS) if text is not None]
    assert read(file) == expected == read(file, block_bytes=10)
    assert skipped(file) == {"null": 1}
    assert [block.position for block in blocks(file, block_bytes=10)][-1] == file.stat().st_size
    assert len(blocks(file, block_bytes=10)) == 4
    assert skipped(file, limit=6) == {"null": 1, "too_long": 1}


def test_nulls_are_skipped_and_counted_the_same_in_jsonl_and_parquet(tmp_path):
    """Also where a shard has no value at all, which Arrow stores as a column of the null type."""
    (tmp_path / "a.jsonl").write_text(rows(*_TEXTS))
    parquet(tmp_path / "a.parquet", _TEXTS, kind=pa.string())
    for name in ("a.jsonl", "a.parquet"):
        assert [document.text for document in read(tmp_path / name)] == [t for t in _TEXTS if t is not None]
        assert skipped(tmp_path / name) == {"null": 1}
    (tmp_path / "b.jsonl").write_text(rows(None, None))
    parquet(tmp_path / "b.parquet", [None, None], kind=pa.null())
    for name in ("b.jsonl", "b.parquet"):
        assert read(tmp_path / name) == []
        assert skipped(tmp_path / name) == {"null": 2}


def test_blocks_of_parquet_do_not_depend_on_its_row_groups(tmp_path):
    found = []
    for size in (7, 1000):
        parquet(tmp_path / "a.parquet", ["x" * (n % 50) for n in range(1000)], row_group_size=size)
        found.append(blocks(tmp_path / "a.parquet", block_bytes=500))
    assert found[0] == found[1]
    assert len(found[0]) > 50


@pytest.mark.parametrize(
    ("values", "field", "pattern"),
    [
        (
            ["a"],
            "body",
            r"a\.parquet: there is no column 'body' \(config\.data\.text_field\); it has: id, text",
        ),
        (["a"], "id", r"a\.parquet: the column 'id' holds int64, must be text; set config\.data\.text_field"),
        (
            [b"fine", b"b\xffd"],
            "text",
            r"a\.parquet:1: byte 0xff at offset 1 of the field 'text' is not UTF-8",
        ),
    ],
)
def test_faults_in_parquet(tmp_path, values, field, pattern):
    parquet(tmp_path / "a.parquet", values)
    assert_fault(lambda: read(tmp_path, text_field=field), pattern)


def test_damaged_parquet(tmp_path):
    file = tmp_path / "a.parquet"
    parquet(file, [str(n) for n in range(9000)], row_group_size=3000, use_dictionary=False)
    data = bytearray(file.read_bytes())
    group = pq.ParquetFile(file).metadata.row_group(2).column(1)
    data[group.data_page_offset : group.data_page_offset + 40] = b"\xff" * 40
    file.write_bytes(data)
    assert_fault(
        lambda: read(file), r"a\.parquet: cannot be read as Parquet after row [1-9]\d* \(.+\); copy or"
    )
    for broken in (data[:-20], b"", b"plain text, of which there is enough"):
        file.write_bytes(broken)
        assert_fault(lambda: read(file), r"a\.parquet: cannot be read as Parquet after row 0 \(.+\); copy or")
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress(bytes(data))[:-20])
    assert_fault(
        lambda: read(tmp_path / "b.parquet.gz"), r"b\.parquet\.gz: the gzip data is truncated or damaged"
    )


def test_no_room_to_unpack_parquet(tmp_path, monkeypatch):
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(b"anything"))
    monkeypatch.setattr(
        "bert_jax.data.sources.parquet.tempfile.TemporaryFile", partial(open, "/dev/full", "wb", buffering=0)
    )
    assert_fault(
        lambda: read(tmp_path),
        r"a\.parquet\.gz cannot be unpacked in /.*, which has \d+ bytes free: No space left on device; make room there",
    )


# ---------------------------------------------------------------------------------------------
# Finding files
# ---------------------------------------------------------------------------------------------


def test_folders_and_globs_sorted_each_once(tmp_path, monkeypatch):
    for name in ("b/z.txt", "b/deep/y.jsonl", "c1.txt", "c2.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "b" / "notes.md").write_text("no text")
    (tmp_path / "b" / "again.txt").symlink_to("z.txt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert [file.name for file in files("b").inputs()] == ["b/deep/y.jsonl", "b/again.txt"]
    assert [file.name for file in files("c*.txt").inputs()] == ["c1.txt", "c2.txt"]
    assert [file.name for file in files("**/y.jsonl").inputs()] == ["b/deep/y.jsonl"]
    assert [file.name for file in files("~/c1.txt").inputs()] == [str(tmp_path / "c1.txt")]


_HIDDEN = (".ipynb_checkpoints/a-checkpoint.txt", "__MACOSX/._a.txt", "__MACOSX/a.txt", "deep/.a.txt.swp.txt")


@pytest.mark.parametrize(
    ("entry", "read_files", "hidden"),
    [
        (".", ["a.txt", "deep/b.txt"], 4),
        ("*", ["a.txt", "deep/b.txt"], 4),
        ("*.txt", ["a.txt"], 0),
        ("**/*.txt", ["a.txt", "deep/b.txt"], 4),
        ("deep", ["deep/b.txt"], 1),
        (".ipynb*/*", [".ipynb_checkpoints/a-checkpoint.txt"], 0),
        (".ipynb_checkpoints", [".ipynb_checkpoints/a-checkpoint.txt"], 0),
        ("__MACOSX/*", ["__MACOSX/a.txt"], 1),
        ("deep/.a.txt.swp.txt", ["deep/.a.txt.swp.txt"], 0),
    ],
)
def test_hidden_files_are_passed_over_unless_they_are_named(
    tmp_path, monkeypatch, caplog, entry, read_files, hidden
):
    for name in ("a.txt", "deep/b.txt", ".DS_Store", *_HIDDEN):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("One.\n")
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "bert_jax")
    assert [file.name for file in files(entry).inputs()] == read_files
    plural = "s" if hidden > 1 else ""
    told = (
        [f"config.data.path={entry!r}: {hidden} hidden file{plural} passed over, such as"] if hidden else []
    )
    assert [message.rpartition(" ")[0] for message in caplog.messages] == told


def test_a_folder_of_hidden_files_alone_says_so(tmp_path):
    (tmp_path / "x" / "__MACOSX").mkdir(parents=True)
    (tmp_path / "x" / "__MACOSX" / "._a.txt").write_text("One.")
    assert_fault(
        lambda: files(tmp_path / "x"), r"subfolders included but 1 that are hidden, such as .*/\._a\.txt"
    )


def test_inputs_have_numbers_and_sizes(tmp_path):
    (tmp_path / "a.txt").write_text("One.\n")
    (tmp_path / "b.txt").write_text("Two two.\n")
    source = TextFiles(str(tmp_path), text_field="text", source=3, first=7)
    assert [(file.source, file.number, file.size) for file in source.inputs()] == [(3, 7, 5), (3, 8, 9)]
    (block,) = source.inputs()[1].blocks()
    assert (block.source, block.input, block.number, block.position) == (3, 8, 0, 9)


def test_identity_is_json_and_follows_the_files(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("One.\n")
    before = files(file).identity()
    assert before["files"] == [[str(file), 5, file.stat().st_mtime_ns]]
    assert json.loads(json.dumps(before)) == before == files(tmp_path).identity()
    os.utime(file, ns=(0, 0))
    assert files(file).identity() != before


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("missing.txt", r"path='missing\.txt': no such file or folder \(looked in /.*\)"),
        ("x*.txt", r"path='x\*\.txt' matches nothing in /.*"),
        (
            "empty",
            r"path='empty' holds no text file \(\.txt, \.jsonl, \.parquet, \.txt\.gz, .*\.parquet\.zst\)",
        ),
        ("a.csv", r"path='a\.csv': a\.csv must end in one of \.txt, "),
        ("*.csv", r"path='\*\.csv': .*a\.csv must end in one of \.txt, "),
    ],
)
def test_inputs_are_checked_on_opening(tmp_path, monkeypatch, path, pattern):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.csv").write_text("a,b")
    monkeypatch.chdir(tmp_path)
    assert_fault(lambda: files(path), pattern)


def test_all_endings_are_known():
    assert set(ENDINGS) == {f"{k}{p}" for k in (".txt", ".jsonl", ".parquet") for p in ("", ".gz", ".zst")}


def test_a_file_that_is_not_ours_to_read(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("One.")
    monkeypatch.setattr(
        os, "access", lambda path, mode: False
    )  # the owner of a container may read everything
    assert_fault(lambda: files(tmp_path), r"a\.txt: cannot be read: Permission denied; correct the path")


# ---------------------------------------------------------------------------------------------
# Faults in files
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "pattern"),
    [
        ("a.txt", b"Good.\nB\xe9d.\n", r"a\.txt:2: byte 0xe9 at offset 7 of the text is not UTF-8; .*iconv"),
        (
            "a.txt",
            "Text.".encode("utf-16"),
            r"a\.txt: begins with the byte-order mark of UTF-16, must be UTF-8: convert it with iconv -f UTF-16",
        ),
        ("a.jsonl", b'\xfe\xff{"text": "a"}', r"a\.jsonl: begins with the byte-order mark of UTF-16"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"a\.jsonl:2: not JSON: Expecting value at column \d+"),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"\xff": 1}\n',
            r"a\.jsonl:2: byte 0xff at offset 16 of the text is not",
        ),
        (
            "a.jsonl",
            b'{"id": 1, "body": "a"}',
            r"a\.jsonl:1: the object has no field 'text' .* it has: id, body",
        ),
        ("a.jsonl", b"{}", r"a\.jsonl:1: the object has no field 'text' .* it has: none"),
        ("a.jsonl", b'{"text": 3}', r"a\.jsonl:1: the field 'text' holds int, must be text"),
        ("a.jsonl", b'["text"]', r"a\.jsonl:1: holds list, must be an object"),
        ("a.jsonl", b'{"text": ' + b"9" * 5000 + b"}", r"a\.jsonl:1: JSON that cannot be read: .*limit"),
        ("a.jsonl", b"\0\0\0\0", r"a\.jsonl:1: not JSON: Expecting value at column 1"),
        (
            "a.txt.gz",
            b"plain",
            r"a\.txt\.gz: ends in \.gz but is not valid gzip after line 0 \(Not a gzipped",
        ),
        (
            "a.txt.gz",
            gzip.compress(b"a\n" * 99, mtime=0)[:-9],
            r"a\.txt\.gz: the gzip data is truncated or damaged after",
        ),
        ("a.txt.zst", b"plain", r"a\.txt\.zst: the zstd data is truncated or damaged after line 0 \("),
        (
            "a.txt.zst",
            zstd(b"a\n" * 99)[:-9],
            r"a\.txt\.zst: the zstd data is truncated or damaged after line",
        ),
    ],
)
def test_faults_in_files(tmp_path, name, content, pattern):
    (tmp_path / name).write_bytes(content)
    assert_fault(lambda: read(tmp_path), pattern)


def test_places_of_faults_far_into_a_file(tmp_path):
    good = "".join(f"Line {n}.\n" for n in range(1000)).encode()
    (tmp_path / "a.txt").write_bytes(good + b"b\xffd\n")
    assert_fault(
        lambda: read(tmp_path / "a.txt", block_bytes=100, limit=150),
        rf"a\.txt:1001: .* offset {len(good) + 1} ",
    )
    (tmp_path / "b.jsonl").write_bytes(rows(*["x"] * 1000).encode() + b"{\n")
    assert_fault(lambda: read(tmp_path / "b.jsonl", block_bytes=100), r"b\.jsonl:1001: not JSON")


def test_damaged_gzip_after_many_lines(tmp_path):
    data = bytearray(gzip.compress(os.urandom(3_000_000).hex(":", 30).replace(":", "\n").encode()))
    data[-500_000:-499_900] = bytes(100)
    (tmp_path / "a.txt.gz").write_bytes(data)
    message = fault_of(lambda: read(tmp_path))
    assert re.search(r"a\.txt\.gz: .*(damaged|valid).* after line \d{5} ", message), message


def test_a_file_that_vanished(tmp_path):
    (tmp_path / "a.txt").write_text("One.")
    (tmp_path / "b.txt").write_text("Two.")
    source = files(tmp_path)
    first, second = source.inputs()
    list(first.blocks())
    (tmp_path / "b.txt").unlink()
    pattern = r"b\.txt: cannot be read: No such file or directory"
    assert_fault(lambda: list(second.blocks()), pattern)
    assert_fault(source.identity, pattern)
    assert_fault(source.inputs, pattern)


def test_a_file_that_fails_while_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("One.\n\n" * 1000)

    def read_fails(self, buffer):
        raise OSError(5, "Input/output error")

    (file,) = files(tmp_path).inputs()
    reading = file.blocks(block_bytes=100)
    next(reading)
    monkeypatch.setattr("bert_jax.data.sources.cutting.Cutter._fill", read_fails)
    assert_fault(lambda: list(reading), r"a\.txt: cannot be read: Input/output error; correct the path")
