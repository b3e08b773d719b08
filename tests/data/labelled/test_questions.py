"""Questions and answers: SQuAD's JSON of both versions and flat tables; answers that stand elsewhere, or nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bert_jax.data.labelled.open import Answer, QuestionExample, read_questions
from tests.data.labelled.faults import assert_fault

CONTEXT = "The cat sat on the cat's mat. Élan, said the cat."


@pytest.fixture(autouse=True)
def _inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def squad(*questions: dict, context: str = CONTEXT) -> str:
    root = {
        "version": "v2.0",
        "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(questions)}]}],
    }
    Path("a.json").write_text(json.dumps(root, indent=1))
    return "a.json"


def question(*answers: tuple[str, int], **more) -> dict:
    given = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": "q1", "question": "Who?", "answers": given} | more


def answers_of(*answers: tuple[str, int], **options) -> tuple[tuple[str, int], ...]:
    (example,) = read_questions(squad(question(*answers)), **options).examples
    return tuple((answer.text, answer.start) for answer in example.answers or ())


def test_squad_1_and_2():
    impossible = {"is_impossible": True, "plausible_answers": [{"text": "cat", "answer_start": 4}]}
    entry = squad(
        question(("cat", 4), ("The cat", 0)),
        question(id="q2", **impossible),
        question(("mat", 25), id="q3", is_impossible=False),
    )
    place = "a.json: data[0].paragraphs[0].qas"
    expected = (
        QuestionExample("q1", "Who?", CONTEXT, (Answer("cat", 4), Answer("The cat", 0)), f"{place}[0]"),
        QuestionExample("q2", "Who?", CONTEXT, (), f"{place}[1]"),
        QuestionExample("q3", "Who?", CONTEXT, (Answer("mat", 25),), f"{place}[2]"),
    )
    assert read_questions(entry).examples == expected
    assert read_questions(entry, limit=2).examples == expected[:2]
    assert [e.answers for e in read_questions(entry, labelled=False).examples] == [None] * 3
    Path("b.dat").write_text(Path("a.json").read_text())
    assert read_questions("squad:b.dat").digest == read_questions(entry).digest


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("cat", 4), 4),
        (("cat", 5), 4),
        (("cat", 11), 4),
        (("cat", 12), 19),
        (("cat", 40), 45),
        (("cat", 999), 45),
        (("cat", -1), 4),
        (("Élan", 0), 30),
    ],
)
def test_an_answer_is_taken_where_it_stands_nearest(given, expected):
    assert answers_of(given) == ((given[0], expected),)
    assert CONTEXT.startswith(given[0], expected)


def test_an_answer_that_the_context_does_not_hold():
    assert answers_of(("dog", 0), ("mat", 25)) == (("mat", 25),)
    entry = squad(question(("The  cat", 0), ("the cat SAT", 0), (" ", 3)), question(("mat", 25), id="q2"))
    read = read_questions(entry)
    assert [e.id for e in read.examples] == ["q2"]
    assert read.skipped == {"answer not in its context": 1}
    kept = read_questions(entry, keep_unmatched=True)
    assert kept.examples[0].answers == (Answer("The  cat", -1), Answer("the cat SAT", -1), Answer(" ", -1))
    assert kept.skipped == {}


def test_flat_tables_give_the_same_as_squads_json():
    entry = squad(question(("cat", 4), ("dog", 0)), question(id="q2", is_impossible=True))
    rows = [
        {
            "id": "q1",
            "question": "Who?",
            "context": CONTEXT,
            "answers": {"text": ["cat", "dog"], "answer_start": [4, 0]},
        },
        {"id": "q2", "question": "Who?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
    ]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("b.json").write_text(json.dumps(rows))
    pq.write_table(pa.Table.from_pylist(rows), "a.parquet")
    digests = {read_questions(name).digest for name in (entry, "a.jsonl", "b.json", "a.parquet")}
    assert len(digests) == 1
    assert [e.answers for e in read_questions("a.jsonl").examples] == [(Answer("cat", 4),), ()]
    assert read_questions("a.jsonl", labelled=False).examples[0].answers is None
    rows[0]["is_impossible"] = True
    Path("c.json").write_text(json.dumps(rows[:1]))
    assert read_questions("c.json").examples[0].answers == ()


def test_empty_questions_are_passed_over_where_answers_are_wanted():
    entry = squad(question(("cat", 4)), question(("cat", 4), id="q2", question=" "))
    assert read_questions(entry).skipped == {"empty text": 1}
    assert [e.question for e in read_questions(entry, labelled=False).examples] == ["Who?", " "]


@pytest.mark.parametrize(
    ("content", "pattern"),
    [
        ({"items": []}, r"^a\.json: must be an object with a list 'data'"),
        ({"data": [{"paragraphs": 1}]}, r"^a\.json: data\[0\]: must be an object with a list 'paragraphs'"),
        (
            {"data": [{"paragraphs": [{}]}]},
            r"data\[0\]\.paragraphs\[0\]: must be an object with a list 'qas'",
        ),
        ({"data": []}, r"^a\.json: holds no example"),
        ([{"id": "1", "question": "q"}], r"^a\.json: there is no column 'context'; it has: id, question$"),
    ],
)
def test_faults_of_structure(content, pattern):
    Path("a.json").write_text(json.dumps(content))
    assert_fault(lambda: read_questions("a.json"), pattern)


PLACE = r"^a\.json: data\[0\]\.paragraphs\[0\]\.qas\[0\]: "


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"id": None}, PLACE + "the id is empty"),
        ({"answers": [{"text": "cat"}]}, PLACE + r"answer_start=None must be a number"),
        ({"answers": [{"text": "cat", "answer_start": "4"}]}, PLACE + r"answer_start='4' must be a number"),
        (
            {"answers": {"text": ["cat"], "answer_start": []}},
            PLACE + "answers must be an object of two lists",
        ),
        ({"answers": ["cat"]}, PLACE + "answers must be an object of two lists"),
        ({"answers": [{"text": 4, "answer_start": 4}]}, PLACE + "the column 'answers.text' holds int"),
    ],
)
def test_faults_of_a_question(changes, pattern):
    assert_fault(lambda: read_questions(squad(question() | changes)), pattern)


def test_an_id_that_occurs_twice():
    entry = squad(question(("cat", 4)), question(("mat", 25)))
    assert_fault(
        lambda: read_questions(entry), r"qas\[1\]: the id 'q1' is also that of a\.json: .*qas\[0\]; ids must"
    )


def test_answers_must_be_there_unless_they_are_not_wanted():
    entry = squad({"id": "q", "question": "Who?"})
    assert_fault(
        lambda: read_questions(entry), r"qas\[0\]: there is no field 'answers'; it has: id, question, context"
    )
    assert len(read_questions(entry, labelled=False).examples) == 1


def test_a_file_that_is_not_json():
    Path("a.json").write_text('{"data": [\n}')
    assert_fault(lambda: read_questions("a.json"), r"^a\.json:2: not JSON: ")
    Path("a.csv").write_text("id,question\n")
    assert_fault(
        lambda: read_questions("a.csv"), r"'csv' does not hold such examples; .* squad, jsonl, json, parquet"
    )
