"""Answering questions from contexts that are longer than a window: learnt, scored, and answered again as it was scored."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bert_jax
from bert_jax import hub
from bert_jax.commands import export, predict
from bert_jax.errors import ConfigError, UserError
from bert_jax.models.parameters import flatten
from bert_jax.prediction.inputs import rows_of_lines
from bert_jax.scoring.spans import squad_scores
from bert_jax.tasks.answering import task_config, tuned_threshold
from bert_jax.tasks.evaluate import evaluate
from bert_jax.tasks.finetune import finetune, open_task, start_from
from bert_jax.tasks.load import load_model
from bert_jax.tasks.seeds import best_scores
from bert_jax.training.metrics import read_metrics
from bert_jax.training.trainer import Trainer
from tests.tasks.runs import resolved, task_of
from tests.tiny_models import save_tiny

FILLERS = ["the", "a", "cat", "dog", "sees", "house", "and", "old", "new", "garden", ".", "in"]
COLOURS = ["red", "green", "blue"]
WORDS = ["which", "colour", "?", *FILLERS, *COLOURS, "dark"]
QUESTION = "which colour ?"


def questions(count, seed, *, without=0.0):
    """(question, context of 5 to 45 words, answers): the one colour of the context, perhaps "dark"; a share of `without`
    has none."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        words = list(rng.choice(FILLERS, rng.integers(5, 45)))
        if rng.random() < without:
            yield QUESTION, " ".join(words), []
            continue
        answer = ["dark"] * int(rng.integers(2)) + [str(rng.choice(COLOURS))]
        place = int(rng.integers(len(words) + 1))
        context = " ".join([*words[:place], *answer, *words[place:]])
        yield QUESTION, context, [(" ".join(answer), len(" ".join(words[:place])) + bool(place))]


def write(path, examples):
    rows = [
        {
            "id": str(number), "question": question, "context": context,
            "answers": {"text": [text for text, _ in answers], "answer_start": [start for _, start in answers]},
        }
        for number, (question, context, answers) in enumerate(examples)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a model and questions of which all (1) or most (2) have an answer."""
    folder = tmp_path_factory.mktemp("made")
    save_tiny(folder / "model", WORDS, num_layers=2)
    for version, without in ((1, 0.0), (2, 0.3)):
        write(folder / f"train{version}.jsonl", questions(300, version, without=without))
        write(folder / f"dev{version}.jsonl", questions(60, 10 + version, without=without))
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))


def config_of(made, *, train=1, dev=1, **values):
    files = {"train": str(made / f"train{train}.jsonl"), "eval": str(made / f"dev{dev}.jsonl")}
    groups = {
        "task": {"kind": "question_answering", "max_length": 32, "stride": 8, "max_answer": 4, **files},
        "train": {"batch_size": 24, "steps": 40, "eval_every": 20},
        "optim": {"schedule": "constant", "warmup_steps": 4, "learning_rate": 5e-3},
        "model": {"head_dropout_rate": 0.0},
    }
    return resolved(groups, values)


def run_of(made, factory, **values):
    folder = factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(folder / "data"))
        finetune(config_of(made, **values), folder / "run", init=made / "model")
    return folder / "run"


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    return run_of(made, tmp_path_factory)


@pytest.fixture(scope="module")
def trained2(made, tmp_path_factory):
    return run_of(made, tmp_path_factory, train=2, dev=2)


@pytest.fixture(scope="module")
def evaluated2(trained2):
    return evaluate(trained2)


def last_evaluation(workdir):
    return [line for line in read_metrics(workdir / "metrics.jsonl") if line["split"] == "eval"][-1]


# ---------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------


def test_packed_rows_have_the_loss_and_gradient_of_windows_alone(made, tmp_path):
    found = []
    for batching in ("pack", "pad"):
        task = task_of(config_of(made, task__batching=batching), made, tmp_path)
        batch = next(
            task.batches("train", task.phases[0], Trainer.of(task, task.config).host()).iterate(0, 1)
        )
        batch = {name: jnp.asarray(values) for name, values in batch.items()}
        params, objective = task.init(jax.random.key(1)), task.objective

        def loss(params, objective=objective, batch=batch):
            return objective.loss(params, {}, batch, None, objective.weights(batch))[0]

        found.append((len(batch["tokens_BL"]), *jax.jit(jax.value_and_grad(loss))(params)))
    (rows, packed, gradient), (single, alone, expected) = found
    assert rows < single == 24
    assert float(packed) == pytest.approx(float(alone), rel=1e-5)
    for path, leaf in flatten(gradient).items():
        assert np.allclose(leaf, flatten(expected)[path], rtol=1e-3, atol=1e-6), path


def test_it_learns_and_evaluate_says_what_the_last_line_says(trained):
    last = last_evaluation(trained)
    assert last["f1"] > 0.9 and last["exact_match"] > 0.8 and "best_f1" not in last
    found = evaluate(trained)
    assert found.weights["start_loss"] > 60  # windows
    names = ("loss", "start_accuracy", "end_loss", "exact_match", "f1")
    assert {name: found.scores[name] for name in names} == pytest.approx(
        {name: last[name] for name in names}, rel=1e-5
    )
    assert best_scores(trained)["f1"] == max(
        line["f1"] for line in read_metrics(trained / "metrics.jsonl") if line["split"] == "eval"
    )


@pytest.mark.slow
def test_devices_do_not_change_what_is_learnt(made, tmp_path, trained):
    values = {"train__steps": 10, "train__eval_every": 10, "parallel__mode": "pmap"}
    finetune(config_of(made, **values), tmp_path / "run", init=made / "model")
    ours, theirs = (
        {(line["step"], line["split"]): line for line in read_metrics(run / "metrics.jsonl")}
        for run in (tmp_path / "run", trained)
    )
    assert ours[10, "train"]["loss"] == pytest.approx(theirs[10, "train"]["loss"], rel=2e-3)
    assert ours[0, "eval"]["f1"] == pytest.approx(theirs[0, "eval"]["f1"], abs=1e-6)


def test_an_evaluation_of_a_few_batches_scores_the_examples_it_saw_whole(made, tmp_path):
    task = task_of(config_of(made, task__max_length=24, train__batch_size=2), made, tmp_path)
    trainer = Trainer.of(task, task.config)
    source = task.evaluation(trainer.host())
    params = trainer.new_state().params
    _, some = trainer.evaluator(source, task.phases[-1], batches=1).run(params)
    _, whole = trainer.evaluator(source, task.phases[-1]).run(params)
    assert 0 < len(task.judged(some)) < len(task.judged(whole)) == 60
    guesses = {one.place: one.guess for one in task.judged(whole)}
    assert all(guesses[one.place] == one.guess for one in task.judged(some))


# ---------------------------------------------------------------------------------------------
# Questions without an answer
# ---------------------------------------------------------------------------------------------


def test_where_questions_lack_answers_the_scores_are_those_of_squad_2(trained2):
    last = last_evaluation(trained2)
    assert {
        "exact_match",
        "f1",
        "best_f1",
        "best_f1_threshold",
        "no_answer_accuracy",
        "has_answer_f1",
    } <= set(last)
    assert last["best_f1"] >= last["f1"] and last["best_f1"] > 0.85
    assert json.loads((trained2 / "config.json").read_text())["config"]["task"]["select"] == "best_f1"
    assert best_scores(trained2)["best_f1"] == pytest.approx(
        max(line.get("best_f1", 0) for line in read_metrics(trained2 / "metrics.jsonl"))
    )


def test_the_same_call_goes_on_with_the_score_that_the_data_chose(trained2, made):
    lines = read_metrics(trained2 / "metrics.jsonl")
    finetune(config_of(made, train=2, dev=2), trained2, init=made / "model")
    assert read_metrics(trained2 / "metrics.jsonl") == lines


def test_a_set_in_which_all_have_answers_gets_spans_alone(trained2, made):
    """Trained on questions without answers, scored as SQuAD 1.1: no answer is "", whatever the null score."""
    found = evaluate(trained2, data=str(made / "dev1.jsonl"))
    assert "best_f1" not in found.scores and found.scores["f1"] > 0.85
    assert "(no answer)" not in {one.guess for one in found.judged}
    model = bert_jax.load(trained2)
    asked = [(question, context) for question, context, _ in questions(60, 11)]
    answers = model.answer(
        *zip(*asked, strict=True), max_length=32, stride=8, max_answer=4, null_threshold=-100.0
    )
    assert {answer.text for answer in answers} == {""}


def test_a_set_with_questions_without_answers_is_scored_so_whatever_was_learnt(trained, made):
    found = evaluate(trained, data=str(made / "dev2.jsonl"))
    assert {"best_f1", "no_answer_accuracy"} <= set(found.scores)


def test_a_tuned_score_cannot_choose_where_nothing_is_tuned(made, tmp_path):
    with pytest.raises(ConfigError, match=r"task\.select='best_f1'.*f1, exact_match.*dev1\.jsonl"):
        task_of(config_of(made, task__select="best_f1"), made, tmp_path)
    assert task_of(config_of(made, train=2, dev=1), made, tmp_path).select.name == "f1"
    assert task_of(config_of(made, train=1, dev=2), made, tmp_path).select.name == "best_f1"
    assert task_of(config_of(made, dev=2, task__select="f1"), made, tmp_path).select.name == "f1"
    assert task_of(config_of(made, task__eval=""), made, tmp_path).select.name == "f1"


def test_the_threshold_of_a_run_is_that_of_its_checkpoint(trained, trained2):
    last = last_evaluation(trained2)
    assert tuned_threshold(trained2, "last") == last["best_f1_threshold"]
    assert tuned_threshold(trained, "last") is None
    assert task_config(trained2).max_answer == 4
    assert task_config(trained2.parent) is None


def test_predict_uses_the_windows_and_the_threshold_of_the_run(trained2, evaluated2, capsys, caplog):
    asked = list(questions(20, 12, without=0.3))
    lines = [f"{question}\t{context}" for question, context, _ in asked]
    with caplog.at_level("INFO"):
        predict.run(trained2, "answer", rows=rows_of_lines(lines, "answer"))
    threshold = last_evaluation(trained2)["best_f1_threshold"]
    assert f"--null-threshold {threshold:.4f}, as the run tuned it" in caplog.text
    printed = [json.loads(line)["answer"] for line in capsys.readouterr().out.splitlines()]
    guesses = [one.guess.replace("(no answer)", "") for one in evaluated2.judged[:20]]
    assert printed == guesses and "" in printed
    caplog.clear()
    predict.run(trained2, "answer", rows=rows_of_lines(lines, "answer"), null_threshold=np.inf)
    assert all(json.loads(line)["answer"] for line in capsys.readouterr().out.splitlines())
    assert "as the run tuned it" not in caplog.text


# ---------------------------------------------------------------------------------------------
# Answers
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_the_model_answers_as_it_was_scored(version, request, made):
    workdir = request.getfixturevalue("trained" if version == 1 else "trained2")
    scores = evaluate(workdir).scores
    examples = list(questions(60, 10 + version, without=0.3 if version == 2 else 0.0))
    model = bert_jax.load(workdir)
    asked = [[question for question, _, _ in examples], [context for _, context, _ in examples]]
    threshold = None if version == 1 else 0.0
    answers = model.answer(*asked, max_length=32, stride=8, max_answer=4, null_threshold=threshold)
    gold = {str(number): [text for text, _ in spans] for number, (_, _, spans) in enumerate(examples)}
    found = squad_scores({str(number): answer.text for number, answer in enumerate(answers)}, gold)
    assert found["exact_match"] == pytest.approx(scores["exact_match"], abs=1e-9)
    assert found["f1"] == pytest.approx(scores["f1"], abs=1e-9)
    for (_, context, _), answer in zip(examples, answers, strict=True):
        assert answer.text == ("" if answer.start is None else context[answer.start : answer.end])
        total = sum(span.probability for span in answer.candidates)
        assert total < 1 if version == 2 else total == pytest.approx(1)


def test_every_example_is_judged_in_order(evaluated2):
    found = evaluated2
    examples = list(questions(60, 12, without=0.3))
    assert [one.gold for one in found.judged] == [
        answers[0][0] if answers else "(no answer)" for _, _, answers in examples
    ]
    assert all(one.text == QUESTION for one in found.judged)
    assert all(0 <= one.badness <= 1 for one in found.judged)
    assert all(one.badness == 0 for one in found.judged if one.gold == one.guess)
    assert all(one.badness == 1 for one in found.judged if "(no answer)" in {one.gold} ^ {one.guess})
    mean = np.mean([1 - one.badness for one in found.judged])
    assert mean == pytest.approx(found.scores["best_f1"], abs=1e-6)  # at the threshold that is best for F1


def test_the_export_has_the_same_logits(trained, tmp_path):
    torch = pytest.importorskip("torch", reason="the reference needs torch")
    transformers = pytest.importorskip("transformers", reason="the reference is transformers itself")
    export.run(trained, tmp_path / "hf")
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "hf").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    [(question, context, _)] = questions(1, 77)
    inputs = tokenizer(question, context[:80], return_tensors="pt")
    with torch.no_grad():
        output = model(**inputs)
    theirs = np.stack([output.start_logits[0].numpy(), output.end_logits[0].numpy()], axis=-1)
    ours = bert_jax.load(trained)(
        inputs["input_ids"].numpy(), inputs["token_type_ids"].numpy()
    ).token_logits_BLC[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    again = bert_jax.load(tmp_path / "hf").answer([question], [context], max_length=32, stride=8)
    assert again == bert_jax.load(trained).answer([question], [context], max_length=32, stride=8)


# ---------------------------------------------------------------------------------------------
# Data
# ---------------------------------------------------------------------------------------------


def test_lists_from_python_are_learnt(made, tmp_path):
    examples = list(questions(200, 5, without=0.2))
    plain = [(question, context, [text for text, _ in answers]) for question, context, answers in examples]
    options = {
        "task": "question_answering", "train__steps": 8, "learning_rate": 3e-3, "batch_size": 16,
        "task__max_length": 48, "task__max_answer": 4,
    }  # fmt: skip
    model, scores = bert_jax.finetune(
        made / "model", train=plain[:150], eval=examples[150:], folder=tmp_path / "f", **options
    )
    assert scores["best_f1"] >= scores["f1"] > 0
    [answer] = model.answer(
        [QUESTION], ["the old dog sees the red house"], null_threshold=scores["best_f1_threshold"]
    )
    assert answer.text in ("", "the old dog sees the red house"[answer.start : answer.end])
    for bad in (("q", "c"), ("q", "c", "red"), ("q", "c", [("red", "4")]), "abc", ("q", "c", [4])):
        with pytest.raises(UserError, match=r"train\[1\]=.*\(question, context, answers\)"):
            bert_jax.finetune(made / "model", train=[plain[0], bad], task="question_answering")


def test_what_was_passed_over_and_cut_is_said(made, tmp_path):
    examples = [
        *questions(8, 3),
        (QUESTION, "the cat", [("blue", 0)]),
        ("which colour " * 10, "red", [("red", 0)]),
    ]
    write(tmp_path / "train.jsonl", examples)
    values = {"task__train": str(tmp_path / "train.jsonl"), "task__max_question": 4, "task__stride": 4}
    task = task_of(config_of(made, **values), made, tmp_path)
    note = task.data.notes[0]
    assert (
        "9 examples, 1 passed over: answer not in its context, 1 cut at 4 tokens of the question, read in"
        in note
    )
    assert task.data.train.units > 9
    # An evaluation keeps the question whose answer the context lacks: its text counts.
    values = {"task__eval": str(tmp_path / "train.jsonl"), "task__max_question": 4}
    assert len(task_of(config_of(made, **values), made, tmp_path).data.gold.examples) == 10


def test_other_limits_are_other_features(made, tmp_path):
    counts = [
        task_of(config_of(made, **values), made, tmp_path).data.train.units
        for values in ({}, {"task__stride": 2}, {"task__max_question": 1}, {})
    ]
    assert counts[0] == counts[3] > counts[1] and counts[0] > counts[2]


def test_bad_data_and_options_are_one_line(made, tmp_path):
    write(tmp_path / "long.jsonl", [("which colour " * 10, "red", [("red", 0)])])
    with pytest.raises(
        UserError, match=r"20 tokens of the question, 3 special ones and stride=10 must be < max_length=32"
    ):
        task_of(config_of(made, task__train=str(tmp_path / "long.jsonl"), task__stride=10), made, tmp_path)
    with pytest.raises(ConfigError, match=r"task\.text='question' must go with"):
        config_of(made, task__text="question")
    with pytest.raises(ConfigError, match=r"task\.max_answer=0 must be > 0"):
        config_of(made, task__max_answer=0)
    with pytest.raises(ConfigError, match=r"task\.max_answer=5 must go with"):
        config_of(made, task__kind="tagging", task__max_answer=5)
    with pytest.raises(ConfigError, match=r"task\.select='accuracy'.*f1, exact_match, best_f1"):
        task_of(config_of(made, task__select="accuracy"), made, tmp_path)


def test_a_model_that_has_gone_astray_is_one_line(trained):
    model = bert_jax.load(trained)
    model.params["task_head"]["output"]["kernel"] = model.params["task_head"]["output"]["kernel"] * jnp.nan
    with pytest.raises(UserError, match=r"question 1: the model's scores.*NaN"):
        model.answer([QUESTION], ["the red dog"])


def test_a_head_goes_on(trained, made, tmp_path):
    task = open_task(config_of(made), tmp_path / "none", (trained,))
    head = load_model(trained).params["task_head"]
    taken, _ = start_from(task, (hub.parse(trained),), lambda: task.init(jax.random.key(3)))
    assert task.model.head.kind == "span"
    assert np.array_equal(taken["task_head"]["output"]["kernel"], head["output"]["kernel"])
