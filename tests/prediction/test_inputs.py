"""What `predict` reads: lines, tables, sentences in words and questions, one at a time."""

import itertools
import json

import pytest

from bert_jax.data.labelled.columns import Columns
from bert_jax.errors import UserError
from bert_jax.prediction.inputs import Row, is_table, rows_of_file, rows_of_lines


def read(path, task="classify", **columns):
    return list(rows_of_file(path, task, Columns(**columns)))


def test_a_tab_parts_a_pair_where_a_task_takes_two_texts():
    assert list(rows_of_lines(["a\tb\tc", "a"], "similarity")) == [Row("a", "b\tc"), Row("a")]
    assert list(rows_of_lines(["a\tb"], "embed")) == [Row("a\tb")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.tsv", 'sentence1\tsentence2\tlabel\nno "quote\tb\t1\n c\t\t0\n'),
        ("x.csv", 'sentence1,sentence2\n"no ""quote",b\n" c",\n'),
        ("x.jsonl", '{"premise": "no \\"quote", "hypothesis": "b"}\n{"premise": " c", "hypothesis": null}\n'),
        ("x.json", '[{"text": "no \\"quote", "text2": "b"}, {"text": " c", "text2": ""}]'),
    ],
)
def test_tables_give_their_texts_without_labels(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    assert is_table(tmp_path / name)
    assert read(tmp_path / name) == [Row('no "quote', "b"), Row(" c", "")]
    assert read(tmp_path / name, "embed") == [Row('no "quote'), Row(" c")]


def test_columns_are_named_or_without_a_header_the_first_two(tmp_path):
    (tmp_path / "x.tsv").write_text("a\tb\nc\td\n")
    assert read(tmp_path / "x.tsv") == [Row("a", "b"), Row("c", "d")]
    assert read(tmp_path / "x.tsv", text="2") == [Row("b"), Row("d")]
    (tmp_path / "three.tsv").write_text("a\tb\tc\n")
    with pytest.raises(UserError, match="by its number, from 1 to 3"):
        read(tmp_path / "three.tsv")
    assert read(tmp_path / "three.tsv", text="3", text_pair="1") == [Row("c", "a")]
    (tmp_path / "named.csv").write_text("id,review_text\n1,fine\n")
    assert read(tmp_path / "named.csv", text="review_text") == [Row("fine")]
    with pytest.raises(UserError, match=r"no column 'reviews'.*id, review_text"):
        read(tmp_path / "named.csv", text="reviews")


def test_questions_come_from_squad_and_from_tables(tmp_path):
    paragraph = {"context": "He lives in Rome.", "qas": [{"id": "q7", "question": "Where?", "answers": []}]}
    (tmp_path / "squad.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    assert read(tmp_path / "squad.json", "answer") == [Row("Where?", "He lives in Rome.", id="q7")]
    (tmp_path / "q.jsonl").write_text(json.dumps({"context": "In Rome.", "question": "Where?"}) + "\n")
    assert read(tmp_path / "q.jsonl", "answer") == [Row("Where?", "In Rome.", id="0")]
    (tmp_path / "q.tsv").write_text("Where?\tIn Rome.\n")
    assert read(tmp_path / "q.tsv", "answer") == [Row("Where?", "In Rome.", id="0")]


def test_sentences_come_in_words_or_as_text(tmp_path):
    (tmp_path / "x.conll").write_text("EU B-ORG\nrejects O\n\nPeter B-PER\n")
    assert read(tmp_path / "x.conll", "tag") == [
        Row("EU rejects", words=("EU", "rejects")),
        Row("Peter", words=("Peter",)),
    ]
    (tmp_path / "x.jsonl").write_text('{"tokens": ["EU", "rejects"]}\n')
    assert read(tmp_path / "x.jsonl", "tag") == [Row("EU rejects", words=("EU", "rejects"))]
    (tmp_path / "t.jsonl").write_text('{"text": "EU rejects."}\n')
    assert read(tmp_path / "t.jsonl", "tag") == [Row("EU rejects.")]


def test_rows_are_read_as_they_are_needed(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"text": "b"}\nnot JSON\n')
    rows = rows_of_file(tmp_path / "x.jsonl", "embed", Columns())
    assert list(itertools.islice(rows, 2)) == [Row("a"), Row("b")]
    with pytest.raises(UserError, match=r"x\.jsonl:3"):
        next(rows)
