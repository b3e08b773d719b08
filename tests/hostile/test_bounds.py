"""What a small file may cost: no header, count, compression or nesting takes memory or time out of proportion."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_jax import array_file, json_file
from bert_jax.data.labelled import tables
from bert_jax.data.labelled.open import read_questions, read_tags, read_texts
from bert_jax.data.sources import streams, texts
from bert_jax.errors import UserError, one_line
from bert_jax.text import tokenizer as tokenizers
from tests.hostile.formats import FORMATS
from tests.hostile.trial import limited

LINE = 2**20


def refusal(read: Callable[[], Any], *, most: int) -> str:
    """The message with which `read` is refused, within seconds and `most` bytes of Python's memory."""
    tracemalloc.start()
    try:
        with limited(20), pytest.raises((UserError, ValueError)) as caught:
            read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most
    return str(caught.value)


@pytest.fixture
def short_lines(monkeypatch):
    """Lines of 1 MiB at most."""
    monkeypatch.setattr(streams, "LINE_BYTES", LINE)
    monkeypatch.setattr(texts, "LINE_BYTES", LINE)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.tsv.gz", lambda path: read_texts(path, label="class")),
        ("a.csv.gz", lambda path: read_texts(path, label="class")),
        ("a.jsonl.gz", lambda path: read_texts(path, label="class")),
        ("a.conll.gz", read_tags),
        ("a.conllu.gz", read_tags),
        ("a.jsonl.gz", read_questions),
    ],
)
def test_a_compressed_file_of_one_long_line(tmp_path, short_lines, name, read):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b'"' * (64 * LINE), 1))
    assert path.stat().st_size < LINE
    message = refusal(lambda: read(str(path)), most=8 * LINE)
    assert f"{path}:1: the line has > {LINE} bytes, must have fewer" in message


def test_a_long_line_of_the_texts_to_predict(tmp_path, short_lines):
    path = tmp_path / "a.txt"
    path.write_bytes(b"short\n" + b"x" * (16 * LINE))
    assert f"{path}:2: the line has > {LINE} bytes" in refusal(
        lambda: list(texts.texts_of(path)), most=8 * LINE
    )


def test_a_compressed_file_that_is_read_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_MOST_BYTES", LINE)
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b"[" + b" " * (64 * LINE), 1))
    assert f"has > {LINE} bytes, must have fewer" in refusal(
        lambda: read_texts(str(path), label="class"), most=8 * LINE
    )


def npy(shape: tuple[int, ...], dtype: str = "<f8", data: bytes = bytes(80)) -> bytes:
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + data


@pytest.mark.parametrize(
    "content",
    [
        npy((2**60,)), npy((2**31, 2**31)), npy((-10,)), npy((11,)), npy((9,)), npy((10,), "|O"), npy((2**62,), "|V0"),
        npy((10**400,)), b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, b"\x93NUMPY\x02\x00\xff\xff\xff\x7f",
        b"\x93NUMPY\x01\x00\x20\x00" + b"{1: 2, 'a': lambda: exit(), }".ljust(32),
    ],
)  # fmt: skip
def test_a_header_that_claims_what_the_file_does_not_hold(tmp_path, content):
    refusal(lambda: array_file.array_of(content), most=8 * LINE)
    (tmp_path / "a.npy").write_bytes(content)
    assert array_file.mapped(tmp_path / "a.npy", np.dtype(np.float64)) is None


def test_an_archive_that_unpacks_to_much(tmp_path, monkeypatch):
    monkeypatch.setattr(array_file, "_MOST_UNPACKED", LINE)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(8 * LINE, np.uint8))
    assert path.stat().st_size < LINE
    assert "is compressed and has" in refusal(lambda: array_file.read_npz(path), most=4 * LINE)


def test_an_archive_whose_directory_claims_much(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(8))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")  # the directory's entry: sizes at 20 and 24
    content[at + 20 : at + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    path.write_bytes(content)
    refusal(lambda: array_file.read_npz(path), most=8 * LINE)
    assert zipfile.ZipFile(path).getinfo("a.npy").file_size == 2**32 - 2


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "[" * 10**5 + "]" * 10**5, "1" * 10**5])
def test_nesting_that_no_stack_holds(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    assert "a.json: not JSON (" in refusal(lambda: json_file.read(tmp_path / "a.json"), most=8 * LINE)


# ---------------------------------------------------------------------------------------------
# Tokenizers
# ---------------------------------------------------------------------------------------------


def read_tokenizer(folder: Path) -> str:
    return refusal(lambda: tokenizers.load(folder, lowercase=None), most=64 * LINE)


@pytest.mark.parametrize(
    "content",
    [b"\x0a" + b"\xff" * 3_000_000, b"\x0a" + b"\xff" * 8 + b"\x7f", b"\x0a\xff\xff\xff\xff\x7f"],
    ids=["a number without end", "a size of 2^62", "a size of 2^34"],
)
def test_a_sentencepiece_model(tmp_path, content):
    (tmp_path / "spiece.model").write_bytes(content)
    assert "spiece.model: not a vocabulary that can be read" in read_tokenizer(tmp_path)


REPLACES = {"type": "Replace", "pattern": {"Regex": "."}, "content": "x" * 1000}


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["model"]["vocab"].update(zzz=2**32 - 1), "id 4294967295 must be < 4194304"),
        (
            lambda raw: raw.update(normalizer={"type": "Sequence", "normalizers": [REPLACES] * 6}),
            "must make <= 64",
        ),
        (
            lambda raw: raw["post_processor"].update(single=raw["post_processor"]["single"] * 1000),
            "a frame of 3000 pieces, must have <= 64",
        ),
    ],
    ids=["a large id", "growing text", "a long frame"],
)
def test_a_tokenizer(tmp_path, change, message, is_declared):
    FORMATS["tokenizer.json-wordpiece"].write(tmp_path)
    raw = json.loads((tmp_path / "tokenizer.json").read_text())
    raw["added_tokens"] = raw["added_tokens"][:-1]  # so that a new last entry moves no other
    change(raw)
    (tmp_path / "tokenizer.json").write_text(json.dumps(raw))
    name = "BertTokenizer" if is_declared else "PreTrainedTokenizerFast"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    assert message in read_tokenizer(tmp_path)


# ---------------------------------------------------------------------------------------------
# Messages
# ---------------------------------------------------------------------------------------------


def test_a_message_is_one_line_whatever_a_file_puts_into_it():
    assert str(UserError("x\n\x1b[2Jy\ud800\u202e é 数 🦊")) == r"x\n\x1b[2Jy\ud800\u202e é 数 🦊"
    long = one_line("begin" + "a" * 10**6 + "end")
    assert len(long) < 2000 and long.startswith("begin") and long.endswith("end") and " ... " in long
    assert one_line(long) == long and one_line(one_line("\n" * 5000)) == one_line("\n" * 5000)
