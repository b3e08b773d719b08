"""Answers of a model with a head for spans: what is given, what is printed, what is refused."""

import dataclasses
import json
import types

import jax.numpy as jnp
import numpy as np
import pytest

import bert_jax
from bert_jax.__main__ import main
from bert_jax.config.head import HeadConfig
from bert_jax.errors import UserError
from bert_jax.prediction.answer import AnswerOptions, answer
from bert_jax.prediction.inputs import Row
from bert_jax.prediction.rows import Options, predictions
from bert_jax.text import kinds
from bert_jax.text.tokenizer import Tokenizer
from tests.tiny_models import save_tiny

WORDS = ["who", "?", "the", "cat", "dog", "sees", "red", "blue"]
ENTRIES = [*kinds.SPECIAL["wordpiece"].values(), *WORDS]
CONTEXT = "The cat sees  the Red dog"


class Fixed:
    """A model that scores each token by its own name, as {word: (start, end)}; 0 otherwise."""

    def __init__(self, scores, max_positions=48):
        self.tokenizer = Tokenizer(
            kinds.wordpiece({word: i for i, word in enumerate(ENTRIES)}, lowercase=True)
        )
        self.config = types.SimpleNamespace(
            head=HeadConfig(kind="span"), max_positions=max_positions, type_vocab_size=2
        )
        self.scores_V2 = np.array([scores.get(word, (0, 0)) for word in ENTRIES], np.float32)
        self.lengths = []

    def compute(self, ids, type_ids):
        assert [len(row) for row in ids] == [len(row) for row in type_ids]
        self.lengths += [len(row) for row in ids]
        longest = max(self.lengths[-len(ids) :])
        rows = [self.scores_V2[[*row, *[0] * (longest - len(row))]] for row in ids]
        return types.SimpleNamespace(token_logits_BLC=jnp.asarray(np.stack(rows)))


def test_the_answer_with_its_characters_and_scores():
    model = Fixed({"red": (6, 0), "dog": (0, 5), "blue": (1, 1), "[CLS]": (2, 1)})
    found, other = answer(model, ["who?", "who ?"], [CONTEXT, "the blue cat"])
    assert (found.text, found.start, found.end, found.score) == ("Red dog", 18, 25, 11.0)
    assert CONTEXT[found.start : found.end] == found.text
    assert found.no_answer == 3 - 11
    assert found.candidates[0][:4] == ("Red dog", 18, 25, 11.0) and len(found.candidates) == 20
    assert found.probability == found.candidates[0].probability
    assert sum(span.probability for span in found.candidates) == pytest.approx(1)
    assert other.text == "blue" and other.score == 2


def test_no_answer_where_the_null_score_is_above_by_more_than_the_threshold():
    model = Fixed({"red": (4, 4), "[CLS]": (5, 5)})
    texts = {
        threshold: answer(model, ["who?"], [CONTEXT], AnswerOptions(threshold))[0].text
        for threshold in (None, 1.9, 2.0, np.inf)
    }
    assert texts == {None: "Red", 1.9: "", 2.0: "Red", np.inf: "Red"}
    [none] = answer(model, ["who?"], [CONTEXT], AnswerOptions(0.0))
    assert (none.text, none.start, none.end, none.score, none.no_answer) == ("", None, None, 10.0, 2.0)
    assert none.candidates[0].text == "Red"
    total = none.probability + sum(span.probability for span in none.candidates)
    assert total == pytest.approx(1) and none.probability > none.candidates[0].probability


def test_an_answer_in_a_later_window_of_a_long_context():
    model = Fixed({"blue": (3, 3)}, max_positions=16)
    contexts = ["the cat " * 20 + "blue dog", "blue", "the dog " * 9]
    found = answer(model, ["who?"] * 3, contexts)
    assert [one.text for one in found[:2]] == ["blue", "blue"]
    assert found[0].start == len("the cat " * 20)
    assert max(model.lengths) == 16 and len(model.lengths) > 10
    many = answer(model, ["who?"] * 40, [contexts[0]] * 40)
    assert {one.start for one in many} == {160}


def test_options_do_what_they_say():
    model = Fixed({"the": (3, 0), "dog": (0, 3), "cat": (0, 1)})

    def ask(**options):
        return answer(model, ["who?"], [CONTEXT], AnswerOptions(**options))[0]

    assert ask(max_answer=6).text == CONTEXT
    assert ask(max_answer=4).text == "the Red dog"
    assert ask(max_answer=2).text == "The cat"
    assert len(ask(n_best=3).candidates) == 3
    model.lengths.clear()
    ask(max_length=10, stride=2)
    assert model.lengths == [10, 8]
    ask(max_question=1)
    assert model.lengths[-1] == 1 + 3 + 6


@pytest.mark.parametrize(
    ("questions", "contexts", "options", "message"),
    [
        (["who?"], [], {}, "1 questions must go with as many contexts, not with 0"),
        (["who?", " "], ["the cat", "the dog"], {}, "question 2 of 2 is empty"),
        (["who?", "who?"], ["", "the dog"], {}, "context 1 of 2 is empty"),
        (["who?"], ["the cat"], {"max_length": 64}, r"max_length=64 must be in 8\.\.48"),
        (["who?"], ["the cat"], {"max_length": 16, "stride": 16}, r"stride=16 must be in 0\.\.15"),
        (["who?"], ["the cat"], {"max_answer": 0}, "max_answer=0 must be >= 1"),
        (["who?"], ["the cat"], {"n_best": 0}, "n_best=0 must be >= 1"),
        (["who?"], ["the cat"], {"max_question": 0}, "max_question=0 must be >= 1"),
        (
            ["who " * 40],
            ["the cat"],
            {},
            r"40 tokens of the question, 3 special ones and stride=16 must be < max_length=48",
        ),
    ],
)
def test_what_cannot_be_answered_is_one_line(questions, contexts, options, message):
    with pytest.raises(UserError, match=message) as error:
        answer(Fixed({}), questions, contexts, AnswerOptions(**options))
    assert "\n" not in str(error.value)


def test_nothing_to_answer_is_nothing():
    assert answer(Fixed({}), [], []) == []


def test_scores_that_are_not_finite_are_one_line():
    with pytest.raises(UserError, match=r"question 2: the model's scores of the tokens are NaN"):
        answer(Fixed({"blue": (np.nan, 0)}), ["who?", "who?"], ["the cat", "the blue cat"])


def test_rows_become_objects():
    model = Fixed({"red": (4, 4)})
    rows = [Row("who?", CONTEXT), Row("who ?", "the cat")]
    found = list(predictions(model, "answer", rows, Options(n_best=2)))
    assert found[0]["question"] == "who?" and found[0]["answer"] == "Red"
    assert CONTEXT[found[0]["start"] : found[0]["end"]] == "Red"
    assert [span["text"] for span in found[0]["n_best"]] == ["Red", "The cat sees  the Red"]
    assert (found[1]["answer"], found[1]["start"], found[1]["end"]) == ("the", 0, 3)
    assert "n_best" not in next(iter(predictions(model, "answer", rows)))
    with pytest.raises(UserError, match="'who' must be a question and its context with a tab between"):
        list(predictions(model, "answer", [Row("who")]))


# ---------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with an untrained head for spans, and one without."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny(folder / "span", WORDS, head=HeadConfig(kind="span"), pooler="none")
    save_tiny(folder / "plain", WORDS)
    return folder


def predict(folder, *words):
    return main(["predict", "--model", str(folder), "--task", "answer", *words])


def test_predict_prints_an_object_for_each_line(folder, tmp_path, capfd):
    lines = ["who?\tThe cat sees the red dog", "who sees?\tThe blue dog"]
    (tmp_path / "questions.txt").write_text("\n".join(lines) + "\n")
    assert predict(folder / "span", "--input", str(tmp_path / "questions.txt"), "--n-best", "2") == 0
    found = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    answers = bert_jax.load(folder / "span").answer(*zip(*(line.split("\t") for line in lines), strict=True))
    for line, one, expected in zip(lines, found, answers, strict=True):
        question, context = line.split("\t")
        assert one["question"] == question and one["answer"] == expected.text
        assert context[one["start"] : one["end"]] == one["answer"] != ""
        assert one["score"] == pytest.approx(expected.score) and len(one["n_best"]) == 2
    assert predict(folder / "span", lines[0], "--null-threshold", "-100") == 0
    one = json.loads(capfd.readouterr().out)
    assert (one["answer"], one["start"]) == ("", None) and "n_best" not in one


def test_predict_refuses_in_one_line(folder, capfd):
    for status, words, message in (
        (1, [folder / "plain", "who?\tThe cat"], "task head is 'none', must be 'span'"),
        (1, [folder / "span", "who?"], "'who?' must be a question and its context"),
        (2, [folder / "span", "who?\tThe cat", "--n-best", "0"], "--n-best 0 must be >= 1"),
    ):
        assert predict(*words) == status
        assert message in capfd.readouterr().err
    words = [
        "predict",
        "--model",
        str(folder / "plain"),
        "--task",
        "embed",
        "the cat",
        "--null-threshold",
        "1",
    ]
    assert main(words) == 2
    assert "--null-threshold must go with --task answer" in capfd.readouterr().err


def test_a_head_of_another_kind_is_refused():
    model = Fixed({})
    model.config.head = dataclasses.replace(model.config.head, kind="tagging", labels=("a", "b"))
    with pytest.raises(UserError, match=r"task head is 'tagging', must be 'span'.*kind=question_answering"):
        answer(model, ["who?"], ["the cat"])
