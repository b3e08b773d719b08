"""Words and tags from CoNLL columns, CoNLL-U, and tables whose columns hold lists."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_jax.data.labelled.open import Columns, TaggedExample, read_tags
from tests.data.labelled.faults import assert_fault


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def tags(entry: str, text="", label="", **options):
    return read_tags(entry, columns=Columns(text=text, label=label), **options)


def short(read) -> list[tuple[str, str, str]]:
    return [(" ".join(e.words), " ".join(e.tags), e.place) for e in read.examples]


CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

\t
# CD X O
x\xa0y NN Y O"""


def test_conll_columns():
    Path("a.conll").write_text(CONLL)
    Path("a.txt").write_text(CONLL)
    with gzip.open("b.conll.gz", "wt") as file:
        file.write(CONLL.replace(" ", "\t").replace("\n", "\r\n"))
    for name in ("a.conll", "a.txt", "b.conll.gz"):
        assert short(tags(name)) == [
            ("EU rejects", "B-ORG O", f"{name}:3"),
            ("# x\xa0y", "O O", f"{name}:7"),  # "# " begins no comment, and only tabs and spaces part columns
        ]
    assert [pair[:2] for pair in short(tags("a.conll", "1", "2"))] == [
        ("EU rejects", "NNP VBZ"),
        ("# x\xa0y", "CD NN"),
    ]
    assert [pair[:2] for pair in short(tags("a.conll", "2", "1", limit=1))] == [("NNP VBZ", "EU rejects")]


CONLLU = """# text = Don't go .
1-2	Don't	_	_	_	_	_	_	_	_
1	Do	do	AUX	VBP	Mood=Imp	3	aux	_	_
2	n't	not	PART	RB	_	3	advmod	_	_
2.1	x	x	VERB	VB	_	_	_	_	_
3	go now	go	VERB	VB	VerbForm=Inf	0	root	_	_

# second
#1	not a token
1	#	#	SYM	NN	_	0	root	_	_
"""


@pytest.mark.parametrize(
    ("text", "label", "words", "expected"),
    [
        ("", "", "Do n't go now", "AUX PART VERB"),
        ("", "xpos", "Do n't go now", "VBP RB VB"),
        ("lemma", "DEPREL", "do not go", "aux advmod root"),
        ("2", "6", "Do n't go now", "Mood=Imp _ VerbForm=Inf"),
    ],
)
def test_conllu(text, label, words, expected):
    Path("a.conllu").write_text(CONLLU)
    first, second = short(tags("a.conllu", text, label))
    assert first == (words, expected, "a.conllu:3")
    assert second[0] == "#" and second[2] == "a.conllu:10"
    Path("b.dat").write_text(CONLLU)
    assert short(tags("conllu:b.dat", text, label))[0][:2] == (words, expected)


@pytest.mark.parametrize(
    ("name", "content", "named", "pattern"),
    [
        ("a.conll", "EU NNP O\nx O\n", (), r"^a\.conll:2: 2 columns, must be 3, as in the first line"),
        ("a.conll", "a O\n\nb\n", (), r"^a\.conll:3: 1 columns, must be 2"),
        ("a.conll", "EU\nx\n", (), r"^a\.conll: words and tags are both column 1 of 1"),
        ("a.conll", "EU O\n", ("", "3"), r"^a\.conll: there is no column 3; it has 2 columns"),
        ("a.conll", "EU O\n", ("", "upos"), r"^a\.conll: the column 'upos' must be a number from 1 to 2"),
        ("a.conll", "\n\n", (), r"^a\.conll: holds no example"),
        ("a.conll", b"a O\n\xe9 O\n", (), r"^a\.conll:2: byte 0xe9, number 1 of .* is not UTF-8"),
        ("a.conllu", "1\ta\ta\tX\n", (), r"^a\.conllu:1: 4 columns, must be 10, CoNLL-U's"),
        (
            "a.conllu",
            CONLLU,
            ("", "pos"),
            r"^a\.conllu: the column 'pos' must be one of id, form, .*misc, or a number",
        ),
        (
            "a.tsv",
            "a\tO\n",
            (),
            r"'tsv' does not hold such examples; .* conll, conllu, .*such as conll:a\.tsv",
        ),
    ],
)
def test_faults_of_columns(name, content, named, pattern):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_fault(lambda: tags(name, *named), pattern)


def test_words_alone_where_tags_are_not_wanted():
    Path("a.conll").write_text("EU\nx\n\ny\n")
    assert tags("a.conll", labelled=False).examples == (
        TaggedExample(("EU", "x"), None, "a.conll:1"),
        TaggedExample(("y",), None, "a.conll:4"),
    )


ROWS = [
    {"tokens": ["EU", "é"], "ner_tags": ["B-ORG", "O"], "pos": [3, 4]},
    {"tokens": [], "ner_tags": [], "pos": []},
    {"tokens": None, "ner_tags": None, "pos": None},
    {"tokens": ["x"], "ner_tags": ["O"], "pos": [1]},
]


def test_lists_in_json_lines_and_parquet():
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), "a.parquet")
    lines, table = tags("a.jsonl"), tags("a.parquet")
    assert short(lines) == [("EU é", "B-ORG O", "a.jsonl:1"), ("x", "O", "a.jsonl:4")]
    assert short(table) == [("EU é", "B-ORG O", "a.parquet:0"), ("x", "O", "a.parquet:3")]
    assert lines.skipped == table.skipped == {"no words": 2}
    assert lines.digest == table.digest != tags("a.jsonl", label="pos").digest
    assert tags("a.jsonl", label="pos").examples[0].tags == ("3", "4")
    assert [e.words for e in tags("a.parquet", labelled=False).examples] == [("EU", "é"), (), (), ("x",)]


@pytest.mark.parametrize(
    ("row", "pattern"),
    [
        ({"words": ["a", "b"], "tags": ["O"]}, r"^a\.jsonl:1: 2 words in 'words' but 1 tags in 'tags'"),
        ({"words": "a b", "tags": ["O"]}, r"^a\.jsonl:1: the column 'words' holds str, must be a list"),
        ({"words": ["a", None], "tags": ["O", "O"]}, r"^a\.jsonl:1: item 2 of the column 'words' is null"),
        ({"words": ["a"]}, r"^a\.jsonl: no column has a usual name for 'label' \(tags, ner_tags, .*: words$"),
        (
            {"text": ["a"], "tags": ["O"]},
            r"^a\.jsonl: no column has a usual name for 'text' \(tokens, words\)",
        ),
    ],
)
def test_faults_of_lists(row, pattern):
    Path("a.jsonl").write_text(json.dumps(row) + "\n")
    assert_fault(lambda: tags("a.jsonl"), pattern)


def test_a_second_text_is_refused():
    assert_fault(
        lambda: read_tags("a.conll", columns=Columns(text_pair="2")), "no second text; remove the column '2'"
    )
