"""SQuAD's scores: the rules of both official scripts one by one, and their values on golden predictions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.scoring.spans import exact_match, normalize_answer, squad_scores, token_f1
from tests.scoring.golden import cases


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Quick, brown-fox!", "quick brownfox"),
        ("an apple a day", "apple day"),
        ("theatre", "theatre"),
        ("U.S. dollar\n", "us dollar"),
        ("«Été» — the end", "«été» — end"),  # punctuation is ASCII's alone
        ("The", ""),
    ],
)
def test_answers_are_normalized(text, normal):
    assert normalize_answer(text) == normal


def test_an_answer_is_compared_with_every_gold_one():
    golds = ["the Panthers", "Carolina Panthers defense"]
    assert exact_match("panthers!", golds) == 1.0
    assert exact_match("Carolina Panthers", golds) == 0.0
    assert token_f1("Carolina Panthers", golds) == pytest.approx(2 * (2 / 2) * (2 / 3) / (2 / 2 + 2 / 3))
    assert token_f1("dog dog", ["dog"]) == pytest.approx(2 / 3)  # a word counts as often as gold has it
    assert token_f1("cat", golds) == 0.0


def test_without_gold_answers_only_an_empty_one_is_right():
    assert exact_match("", []) == token_f1("the", []) == 1.0
    assert exact_match("dog", []) == token_f1("dog", []) == 0.0


def test_squad_1():
    references = {"1": ["a dog"], "2": ["two cats"], "3": ["x"]}
    scores = squad_scores({"1": "Dog", "2": "cats", "3": "y"}, references)
    assert scores == pytest.approx({"exact_match": 1 / 3, "f1": (1 + 2 / 3) / 3})


def test_answers_without_words_differ_between_the_versions():
    """In 1.1 such an answer has no F1; in 2.0 such a gold answer is none."""
    assert squad_scores({"1": "a"}, {"1": ["The"]}) == {"exact_match": 1.0, "f1": 0.0}
    second = squad_scores({"1": "a", "2": ""}, {"1": ["The"], "2": []})
    assert (second["has_answer_exact_match"], second["has_answer_f1"]) == (1.0, 1.0)
    assert squad_scores({"1": "a"}, {"1": ["The", "x"]})["exact_match"] == 1.0
    assert squad_scores({"1": "a", "2": ""}, {"1": ["The", "x"], "2": []})["has_answer_exact_match"] == 0.0


QUESTIONS = {"yes1": ["red dog"], "yes2": ["cat"], "no1": [], "no2": []}
ANSWERS = {"yes1": "red", "yes2": "cat", "no1": "dog", "no2": ""}


def test_squad_2():
    assert squad_scores(ANSWERS, QUESTIONS) == pytest.approx(
        {
            "exact_match": 2 / 4,
            "f1": (2 / 3 + 1 + 0 + 1) / 4,
            "has_answer_exact_match": 1 / 2,
            "has_answer_f1": (2 / 3 + 1) / 2,
            "no_answer_accuracy": 1 / 2,
        }
    )


def test_a_threshold_empties_the_answers_above_it():
    no_answer = {"yes1": 0.2, "yes2": 0.9, "no1": 0.9, "no2": 0.5}
    scores = squad_scores(ANSWERS, QUESTIONS, no_answer=no_answer, threshold=0.5)
    assert (scores["exact_match"], scores["has_answer_exact_match"], scores["no_answer_accuracy"]) == (
        0.5,
        0.0,
        1.0,
    )
    at_it = squad_scores(ANSWERS, QUESTIONS, no_answer=no_answer, threshold=0.9)
    plain = squad_scores(ANSWERS, QUESTIONS)
    assert {name: at_it[name] for name in plain} == plain


def test_the_best_threshold_is_the_lowest_that_reaches_the_best_score():
    no_answer = {"yes1": -2.0, "yes2": -1.0, "no1": 3.0, "no2": 4.0}
    scores = squad_scores(ANSWERS, QUESTIONS, no_answer=no_answer)
    assert (scores["best_exact_match"], scores["best_exact_threshold"]) == (3 / 4, -1.0)
    assert (scores["best_f1"], scores["best_f1_threshold"]) == (pytest.approx((2 / 3 + 3) / 4), -1.0)
    there = squad_scores(ANSWERS, QUESTIONS, no_answer=no_answer, threshold=scores["best_exact_threshold"])
    assert there["exact_match"] == scores["best_exact_match"]
    tied = squad_scores(ANSWERS, QUESTIONS, no_answer={"yes2": -1.0, "yes1": 0.5, "no1": 3.0, "no2": 4.0})
    assert (tied["best_exact_match"], tied["best_exact_threshold"]) == (3 / 4, -1.0)


def test_an_empty_answer_to_an_unanswerable_question_costs_nothing_below_the_threshold():
    no_answer = {"no2": 0.1, "yes2": 0.2, "no1": 0.8, "yes1": 0.9}
    scores = squad_scores(ANSWERS, QUESTIONS, no_answer=no_answer)
    assert (scores["best_exact_match"], scores["best_exact_threshold"]) == (3 / 4, 0.2)


def test_no_answer_to_every_question_has_the_threshold_0():
    scores = squad_scores({"1": "x", "2": "y"}, {"1": [], "2": ["z"]}, no_answer={"1": 0.1, "2": 0.9})
    assert (scores["best_exact_match"], scores["best_exact_threshold"]) == (0.5, 0.0)


def test_a_question_without_a_prediction_is_wrong_and_counted():
    predictions = {"yes2": "cat", "no2": ""}
    scores = squad_scores(predictions, QUESTIONS, no_answer={"yes2": 0.1, "no2": 0.9})
    assert scores["missing"] == 2.0
    assert scores["exact_match"] == scores["has_answer_exact_match"] == scores["no_answer_accuracy"] == 0.5
    assert (scores["best_exact_match"], scores["best_exact_threshold"]) == (0.5, 0.1)
    assert "missing" not in squad_scores(ANSWERS, QUESTIONS)


@given(
    st.dictionaries(st.text(max_size=3), st.lists(st.text("abc the.", max_size=8), max_size=2), min_size=1)
)
def test_gold_answers_are_right(references):
    references = {
        key: [gold for gold in golds if normalize_answer(gold)] for key, golds in references.items()
    }
    answers = {key: golds[-1] if golds else "" for key, golds in references.items()}
    assert set(squad_scores(answers, references).values()) == {1.0}


@given(st.permutations(list(QUESTIONS)), st.permutations(list(QUESTIONS)))
def test_the_order_of_questions_does_not_matter(order, other):
    no_answer = {"yes1": 0.1, "yes2": 0.4, "no1": 0.3, "no2": 0.2}
    shuffled = squad_scores(
        {key: ANSWERS[key] for key in order},
        {key: QUESTIONS[key] for key in other},
        no_answer={key: no_answer[key] for key in order},
    )
    assert shuffled == squad_scores(ANSWERS, QUESTIONS, no_answer=no_answer)


@pytest.mark.parametrize(
    ("predictions", "no_answer", "message"),
    [
        ({"x": "a", "yes1": "b"}, None, "one of the 4 questions: 1 of 2 .* 'x'"),
        ({"yes1": "b"}, {}, "must have a no-answer score: 1 of 1 .* 'yes1'"),
        ({}, {"no1": 0.5}, "must be of a question with a prediction: 1 of 1 .* 'no1'"),
        ({"yes1": "b"}, {"yes1": float("nan")}, "finite: 1 of 1 .* nan of question 'yes1'"),
    ],
)
def test_what_cannot_be_scored_is_refused(predictions, no_answer, message):
    with pytest.raises(UserError, match=message):
        squad_scores(predictions, QUESTIONS, no_answer=no_answer)


def test_nothing_to_score_and_a_threshold_of_nothing_are_refused():
    with pytest.raises(UserError, match="0 questions"):
        squad_scores({}, {})
    with pytest.raises(ValueError, match=r"threshold=0\.5 does nothing"):
        squad_scores(ANSWERS, QUESTIONS, threshold=0.5)


def _references(name: str) -> dict[str, list[str]]:
    paragraphs = [paragraph for article in cases(name)["data"] for paragraph in article["paragraphs"]]
    return {item["id"]: [a["text"] for a in item["answers"]] for part in paragraphs for item in part["qas"]}


def test_golden_squad_2():
    golden, references = cases("golden/squad_eval_cases.json"), _references("tasks/squad/train_v2.json")
    official = golden["v2_scores_with_na"]
    scores = squad_scores(golden["v2_predictions"], references, no_answer=golden["v2_na_probs"])
    names = {
        "exact_match": "exact",
        "f1": "f1",
        "has_answer_exact_match": "HasAns_exact",
        "has_answer_f1": "HasAns_f1",
        "no_answer_accuracy": "NoAns_exact",
        "best_exact_match": "best_exact",
        "best_f1": "best_f1",
    }
    assert {name: 100 * scores[name] for name in names} == pytest.approx(
        {name: official[theirs] for name, theirs in names.items()}, rel=1e-12
    )
    assert scores["best_exact_threshold"] == official["best_exact_thresh"]
    assert scores["best_f1_threshold"] == official["best_f1_thresh"]
    assert len(references) == official["total"]
    alone = squad_scores(golden["v2_predictions"], references)
    assert (100 * alone["exact_match"], 100 * alone["f1"]) == pytest.approx(
        (golden["v2_scores"]["exact"], golden["v2_scores"]["f1"]), rel=1e-12
    )


def test_golden_squad_1():
    """The golden score is of 1,190 questions; where only 838 of them are at hand, of these."""
    golden, references = cases("golden/squad_eval_cases.json"), _references("tasks/squad/eval_v1.json")
    predictions = {key: golden["v1_predictions"][key] for key in references}
    official = golden["v1_scores"]["exact_match"], golden["v1_scores"]["f1"]
    if len(references) == 838:
        official = 64.67780429594272, 76.25595840442483  # the rules of evaluate-v1.1.py, 2026-11-25
    scores = squad_scores(predictions, references)
    assert (100 * scores["exact_match"], 100 * scores["f1"]) == pytest.approx(official, rel=1e-12)
