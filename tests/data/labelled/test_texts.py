"""Texts and labels from TSV, CSV, JSON and Parquet: which columns, which values, what is passed over, what is refused."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_jax.data.labelled.open import Columns, TextExample, read_texts
from tests.data.labelled.faults import assert_fault


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name: str, content: str | bytes | list) -> str:
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(content), name)
        return name
    if isinstance(content, list):
        content = "".join(json.dumps(item) + "\n" for item in content)
    data = content.encode() if isinstance(content, str) else content
    with (gzip.open if name.endswith(".gz") else open)(name, "wb") as file:
        file.write(data)
    return name


def short(read) -> list[tuple]:
    return [(e.text, e.text_pair, e.label, e.place) for e in read.examples]


def texts(entry: str, text="", text_pair="", label_column="", label="class", **options):
    columns = Columns(text=text, text_pair=text_pair, label=label_column)
    return read_texts(entry, columns=columns, label=label, **options)


# ---------------------------------------------------------------------------------------------
# TSV and CSV
# ---------------------------------------------------------------------------------------------


def test_tsv_with_a_header_of_usual_names_where_quotes_are_text():
    write("a.tsv", '\ufeffsentence\tlabel\r\n"a quote , \t1\r\n\nb"c\t0\n')
    assert short(texts("a.tsv")) == [('"a quote , ', None, "1", "a.tsv:2"), ('b"c', None, "0", "a.tsv:4")]


def test_tsv_without_a_header_by_number_as_cola_and_stsb_have_it():
    write("cola.tsv", "gj04\t1\t\tOne.\ngj04\t0\t*\tTwo.\n")
    assert short(texts("cola.tsv", "4", "", "2")) == [
        ("One.", None, "1", "cola.tsv:1"),
        ("Two.", None, "0", "cola.tsv:2"),
    ]
    write("sts.tsv", 'g\tf\ty\t1\t4.75\tA "b.\tC.\ng\tf\ty\t2\t0.2\tD.\tE.\tan owner\tanother\n')
    assert short(texts("sts.tsv", "6", "7", "5", label="number")) == [
        ('A "b.', "C.", 4.75, "sts.tsv:1"),
        ("D.", "E.", 0.2, "sts.tsv:2"),
    ]


@pytest.mark.parametrize(
    ("header", "named", "expected"),
    [
        ("sentence\tlabel", (), ("0", None, "1")),
        ("idx\ttext\tlabel", (), ("1", None, "2")),
        ("review\tText\tLabel", (), ("1", None, "2")),
        ("label\tsentence1\tsentence2", (), ("1", "2", "0")),
        ("premise\thypothesis\tlabel", (), ("0", "1", "2")),
        ("id\tquestion1\tquestion2\tis_duplicate", (), ("1", "2", "3")),
        ("index\tquestion\tsentence\tlabel", (), ("1", "2", "3")),
        ("text\ttext_pair\tscore", (), ("0", "1", "2")),
        ("Quality\t#1 String\t#2 String", ("#1 String", "#2 String", "Quality"), ("1", "2", "0")),
        ("Quality\tsentence\tx", ("", "3", "Quality"), ("1", "2", "0")),
        ("label\tlabels\ttext", ("3", "", "2"), ("2", None, "1")),
    ],
)
def test_which_columns_are_read(header, named, expected):
    numbers = [str(number) for number, _ in enumerate(header.split("\t"))]
    write("a.tsv", header + "\n" + "\t".join(numbers) + "\n")
    ((text, pair, label, place),) = short(texts("a.tsv", *named))
    assert (text, pair, label) == expected
    assert place == "a.tsv:2"


def test_pair_says_whether_a_second_text_is_read():
    write("a.csv", "sentence1,sentence2,label\na,b,1\n")
    write("b.csv", "sentence,label\na,1\n")
    write("c.csv", "question,sentence,label\na,b,1\n")
    read = {
        (name, pair): short(texts(name, pair=pair))[0][:2]
        for name in ("a.csv", "c.csv")
        for pair in (None, True)
    }
    assert set(read.values()) == {("a", "b")}
    assert short(texts("a.csv", pair=False))[0][:2] == ("a", None)
    assert short(texts("b.csv"))[0][:2] == ("a", None)
    assert_fault(lambda: texts("b.csv", pair=True), r"^b\.csv: no column .*'text_pair' .*: sentence, label$")
    assert_fault(
        lambda: texts("a.csv", "", "sentence2", pair=False), r"'sentence2' .* is named, but pair=False"
    )


def test_csv_has_quotes_and_fields_of_several_lines():
    write("a.csv", 'text,label\r\n"one, ""two""\nthree",x\r\nfour,y\r\n')
    assert short(texts("a.csv")) == [
        ('one, "two"\nthree', None, "x", "a.csv:2"),
        ("four", None, "y", "a.csv:4"),
    ]
    write("b.csv", "one,x\ntwo,y\n")
    assert short(texts("b.csv", "1", "", "2"))[0] == ("one", None, "x", "b.csv:1")
    write("c.csv", "text,label\none,x\n")  # numbers, and yet a header
    assert short(texts("c.csv", "1", "", "2")) == [("one", None, "x", "c.csv:2")]


@pytest.mark.parametrize(
    ("name", "content", "named", "pattern"),
    [
        ("a.tsv", "sentence\tlabel\na\t1\nb\n", (), r"^a\.tsv:3: 1 fields, must be 2"),
        ("a.tsv", "sentence\tlabel\na\t1\t2\n", (), r"^a\.tsv:2: 3 fields, must be 2"),
        ("a.tsv", "a\t1\nb\n", ("1", "", "2"), r"^a\.tsv:2: 1 fields, must be at least 2"),
        ("a.csv", 'text,label\n"a\nb",1\nc\n', (), r"^a\.csv:4: 1 fields, must be 2"),
        ("a.csv", 'text,label\na,1\n"b,2\n', (), r"^a\.csv:3: not CSV \(unexpected end of data\)"),
        ("a.csv", 'text,label\n"a"b,1\n', (), r"^a\.csv:2: not CSV \(.*expected after"),
        ("a.tsv", "a\t1\n", (), r"^a\.tsv: the first line is no header .*'text' by its number, from 1 to 2"),
        ("a.tsv", "a\t1\n", ("1", "", "3"), r"^a\.tsv: there is no column 3; it has 2 columns"),
        ("a.tsv", "a\t1\n", ("1", "", "0"), r"^a\.tsv: there is no column 0; it has 2 columns"),
        ("a.tsv", "sentence\tlabel\na\t1\n", ("body",), r"no column 'body'; it has: sentence, label$"),
        ("a.csv", "x,y\na,1\n", (), r"^a\.csv: no column has a usual name for 'text' .*: x, y$"),
        ("a.tsv", "text\ttext\na\t1\n", (), r"^a\.tsv:1: the header has 'text' twice"),
        ("a.tsv", b"text\tlabel\na\xffb\t1\n", (), r"^a\.tsv:2: byte 0xff, number 2 of .* is not UTF-8"),
        ("a.tsv", "", (), r"^a\.tsv: the file is empty"),
        ("a.csv", "\n\n", (), r"^a\.csv: the file is empty"),
        ("a.tsv", "text\tlabel\n", (), r"^a\.tsv: holds no example"),
        (
            "a.tsv",
            "text\tlabel\n \t1\na\t\n",
            (),
            r"^a\.tsv: all 2 examples .*: 1 with empty text, 1 with no label",
        ),
    ],
)
def test_faults_of_a_file(name, content, named, pattern):
    write(name, content)
    assert_fault(lambda: texts(name, *named), pattern)


# ---------------------------------------------------------------------------------------------
# JSON and Parquet
# ---------------------------------------------------------------------------------------------


def test_json_lines_a_list_and_parquet_give_the_same():
    rows = [{"idx": 1, "text": "a é", "label": "x"}, {"idx": 2, "text": "b", "label": "y"}]
    write("a.jsonl", rows)
    write("b.json", json.dumps(rows, indent=1))
    write("c.json", rows)  # lines, as many call .json
    write("d.parquet", rows)
    write("e.jsonl.gz", rows)
    write("e.parquet", rows)
    with open("e.parquet", "rb") as file, gzip.open("f.parquet.gz", "wb") as packed:
        packed.write(file.read())
    places = {
        "a.jsonl": ("a.jsonl:1", "a.jsonl:2"),
        "b.json": ("b.json[0]", "b.json[1]"),
        "c.json": ("c.json:1", "c.json:2"),
        "d.parquet": ("d.parquet:0", "d.parquet:1"),
        "e.jsonl.gz": ("e.jsonl.gz:1", "e.jsonl.gz:2"),
        "f.parquet.gz": ("f.parquet.gz:0", "f.parquet.gz:1"),
    }
    for name, (first, second) in places.items():
        assert short(texts(name)) == [("a é", None, "x", first), ("b", None, "y", second)]
    assert len({texts(name).digest for name in places}) == 1


def test_fields_inside_objects_have_paths():
    rows = [{"input": {"a": "one", "b": "two"}, "gold": {"label": 3}}]
    for name in (write("a.jsonl", rows), write("a.parquet", rows)):
        assert short(texts(name, "input.a", "input.b", "gold.label"))[0][:3] == ("one", "two", "3")
        assert_fault(
            lambda name=name: texts(name, "input.c", "", "gold.label"), rf"{name}:\d: .*no field 'input\.c'"
        )


def test_only_the_wanted_columns_of_parquet_are_read(monkeypatch):
    write("a.parquet", [{"text": "a", "label": 1, "image": b"x"}])
    seen = []
    batches = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, **o: (seen.append(o["columns"]), batches(self, **o))[1]
    )
    texts("a.parquet")
    assert seen == [["label", "text"]]


@pytest.mark.parametrize(
    ("name", "content", "pattern"),
    [
        (
            "a.jsonl",
            '{"text": "a", "label": 1}\n{"text": "b"}\n',
            r"^a\.jsonl:2: .*no field 'label'; it has: text$",
        ),
        ("a.jsonl", '{"text": "a", "label": 1}\n{\n', r"^a\.jsonl:2: not JSON"),
        ("a.jsonl", '["a"]\n', r"^a\.jsonl:1: holds list, must be an object"),
        ("a.jsonl", [{"body": "a"}], r"^a\.jsonl: no column has a usual name for 'text' .*: body$"),
        ("a.jsonl", [{"text": 3, "label": 1}], r"^a\.jsonl:1: the column 'text' holds int, must be text"),
        ("a.json", "[1]", r"^a\.json\[0\]: holds int, must be an object"),
        ("a.json", '[{"text": "a",}]', r"^a\.json:1: not JSON"),
        ("a.json", "[]", r"^a\.json: the list is empty"),
        ("a.json", " ", r"^a\.json: the file is empty"),
        ("a.parquet", [{"body": "a"}], r"^a\.parquet: no column .*: body$"),
    ],
)
def test_faults_of_json_and_parquet(name, content, pattern):
    write(name, content)
    assert_fault(lambda: texts(name), pattern)


def test_damaged_files():
    write("a.parquet", [{"text": "a", "label": 1}])
    with open("a.parquet", "rb+") as file:
        file.truncate(30)
    assert_fault(lambda: texts("a.parquet"), r"^a\.parquet: cannot be read as Parquet")
    write("a.tsv.gz", "text\tlabel\n" + "a\t1\n" * 1000)
    with open("a.tsv.gz", "rb+") as file:
        file.truncate(50)
    assert_fault(
        lambda: texts("a.tsv.gz"), r"a\.tsv\.gz: the gzip data is truncated or damaged after line \d+"
    )
    write("b.tsv", "text\tlabel\n")
    with open("b.tsv.gz", "wb") as file:
        file.write(b"text\tlabel\n")
    assert_fault(lambda: texts("b.tsv.gz"), r"b\.tsv\.gz: ends in \.gz but is not valid gzip")


def test_half_a_surrogate_pair_becomes_a_replacement_character():
    write("a.jsonl", '{"text": "a \\ud83d b", "label": 1}\n')
    assert short(texts("a.jsonl"))[0][0] == "a \ufffd b"


# ---------------------------------------------------------------------------------------------
# Labels
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("class", "a b ", "a b"),
        ("class", 1, "1"),
        ("class", 1.0, "1"),
        ("class", 0.5, "0.5"),
        ("class", -1, "-1"),
        ("class", True, "true"),
        ("classes", ["a", "b", "a"], ("a", "b")),
        ("classes", [3], ("3",)),
        ("classes", [], ()),
        ("classes", "", ()),
        ("classes", "a, b", ("a", "b")),
        ("classes", "a, b|c", ("a, b", "c")),
        ("number", "3.5", 3.5),
        ("number", 2, 2.0),
        ("number", " -1e3", -1000.0),
    ],
)
def test_labels_of_each_kind(kind, given, expected):
    write("a.jsonl", [{"text": "a", "label": given}])
    (example,) = texts("a.jsonl", label=kind).examples
    assert example.label == expected
    assert type(example.label) is type(expected)


@pytest.mark.parametrize(
    ("kind", "given", "pattern"),
    [
        ("class", ["a"], r"holds list, must be one class"),
        ("classes", 3, r"holds int, must be a list of label names"),
        ("classes", ["a", ""], r"label 2 of the column 'label' is empty"),
        ("number", "high", r"holds 'high', must be a finite number"),
        ("number", "nan", r"holds 'nan', must be a finite number"),
        ("number", float("nan"), r"holds nan, must be a finite number"),
        ("number", float("inf"), r"holds inf, must be a finite number"),
        ("number", True, r"holds True, must be a finite number"),
        ("number", [1], r"holds \[1\], must be a finite number"),
    ],
)
def test_a_label_of_another_kind(kind, given, pattern):
    write("a.jsonl", [{"text": "a", "label": given}])
    assert_fault(lambda: texts("a.jsonl", label=kind), rf"^a\.jsonl:1: .*{pattern}")


def test_what_is_passed_over_is_counted_where_labels_are_wanted():
    rows = [
        {"text": "a", "text2": "b", "label": "x"},
        {"text": " ", "text2": "b", "label": "x"},
        {"text": None, "text2": "b", "label": "x"},
        {"text": "a", "text2": "", "label": "x"},
        {"text": "a", "text2": "b", "label": None},
    ]
    write("a.jsonl", rows)
    read = texts("a.jsonl")
    assert [e.place for e in read.examples] == ["a.jsonl:1"]
    assert read.skipped == {"empty text": 3, "no label": 1}
    kept = texts("a.jsonl", labelled=False)
    assert [(e.text, e.text_pair, e.label) for e in kept.examples] == [
        ("a", "b", None), (" ", "b", None), ("", "b", None), ("a", "", None), ("a", "b", None),
    ]  # fmt: skip
    assert kept.skipped == {}


def test_labels_need_not_be_there_where_they_are_not_wanted():
    write("a.tsv", "index\tsentence\n0\tOne.\n")
    assert texts("a.tsv", labelled=False).examples == (TextExample("One.", None, None, "a.tsv:2"),)
    assert_fault(lambda: texts("a.tsv"), r"usual name for 'label' .*: index, sentence$")


# ---------------------------------------------------------------------------------------------
# Files, caps, digests
# ---------------------------------------------------------------------------------------------


def test_a_glob_a_prefix_and_a_cap():
    write("b.tsv", "text\tlabel\nb\t1\n")
    write("a.tsv", "label\ttext\n1\ta\n2\taa\n")
    assert [e.text for e in texts("*.tsv").examples] == ["a", "aa", "b"]
    write("data.txt", "text\tlabel\nc\t1\n")
    assert [e.text for e in texts("tsv:data.txt").examples] == ["c"]
    assert [e.text for e in texts("*.tsv", limit=2).examples] == ["a", "aa"]
    write("bad.csv", "text,label\na,1\nb\n")
    assert [e.text for e in texts("bad.csv", limit=1).examples] == ["a"]  # no further line is read


@pytest.mark.parametrize(
    ("entry", "pattern"),
    [
        ("no.tsv", r"^'no\.tsv': no such file \(looked in "),
        ("no*.tsv", r"^'no\*\.tsv': no such file"),
        ("folder", r"folder is a folder; name files"),
        (
            "data.bin",
            r"the ending '\.bin' does not tell the format; .* one of tsv, csv, jsonl, json, parquet$",
        ),
        ("data.conllu", r"the format 'conllu' does not hold such examples; it must be one of tsv, csv"),
        ("s3://bucket/a.tsv", r"must be a local path"),
    ],
)
def test_entries_that_name_no_table(entry, pattern, tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("data.bin", "data.conllu"):
        write(name, "a")
    assert_fault(lambda: texts(entry), pattern)


def test_a_file_that_may_not_be_read(monkeypatch):
    write("a.tsv", "text\tlabel\na\t1\n")

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert_fault(lambda: texts("a.tsv"), r"^a\.tsv: cannot be read: Permission denied")


def test_the_digest_is_that_of_the_content():
    write("a.tsv", "text\tlabel\tother\na\t1\tc\nb\t2\td\n")
    write("b.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": 2}])
    whole = texts("a.tsv").digest
    assert whole == texts("b.jsonl").digest == texts("a.tsv", "1", "", "2").digest
    others = {
        texts("a.tsv", "other").digest,
        texts("a.tsv", limit=1).digest,
        texts("a.tsv", labelled=False).digest,
        texts("a.tsv", label="classes").digest,
        texts("a.tsv", label="number").digest,
        texts("a.tsv", "", "other").digest,
    }
    assert len(others) == 6 and whole not in others


def test_reading_a_few_examples_shows_no_bar(capfd):
    write("a.tsv", "text\tlabel\na\t1\n")
    texts("a.tsv")
    assert capfd.readouterr() == ("", "")
