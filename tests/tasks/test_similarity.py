"""Similarity of texts: a pair counts as if it were alone, the run learns, and its model says what the run said."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bert_jax
from bert_jax.config.head import HeadConfig
from bert_jax.errors import ConfigError, UserError
from bert_jax.interop import formats, native
from bert_jax.models.parameters import flatten
from bert_jax.tasks.evaluate import evaluate
from bert_jax.tasks.finetune import finetune, open_task
from bert_jax.tasks.load import load_model
from bert_jax.tasks.similarity import with_range
from bert_jax.training.metrics import read_metrics
from bert_jax.training.trainer import Trainer
from tests.tasks.runs import resolved
from tests.tiny_models import save_tiny

NOUNS = ["film", "plot", "cast", "song", "book", "play"]
WORDS = [*NOUNS, "the", "a", "was", "is", "very", "and", "."]
LOSSES = ("cosine", "cosent", "contrastive")


def pairs(count, seed):
    """(text, partner, number): 4 of texts with the same noun, 2 of nouns of one half, else 0; up to 12 words each."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        a, b = rng.integers(len(NOUNS)), rng.integers(len(NOUNS))
        b = a if rng.random() < 0.4 else b
        texts = []
        for noun in (a, b):
            words = list(rng.choice(WORDS[len(NOUNS) :], rng.integers(1, 12)))
            words.insert(int(rng.integers(len(words) + 1)), NOUNS[noun])
            texts.append(" ".join(words))
        yield *texts, 4 if a == b else 2 if a % 2 == b % 2 else 0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a model, train.tsv and dev.tsv."""
    folder = tmp_path_factory.mktemp("made")
    save_tiny(folder / "model", WORDS, num_layers=1)
    for name, count, seed in (("train", 300, 0), ("dev", 81, 1)):
        lines = ["\t".join(map(str, pair)) for pair in pairs(count, seed)]
        (folder / f"{name}.tsv").write_text("text\ttext2\tscore\n" + "\n".join(lines) + "\n")
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))


def config_of(made, **values):
    files = {"train": str(made / "train.tsv"), "eval": str(made / "dev.tsv")}
    groups = {
        "task": {"kind": "similarity", "max_length": 24, **files},
        "train": {"batch_size": 32, "epochs": 8.0, "eval_every": 38},
        "optim": {"learning_rate": 3e-3},
    }
    return resolved(groups, values)


def task_of(made, tmp_path, **values):
    return open_task(config_of(made, **values), tmp_path / "none", (made / "model",))


def file_of(folder, *lines):
    path = folder / "given.tsv"
    path.write_text("text\ttext2\tscore\n" + "".join(f"{line}\n" for line in lines))
    return str(path)


def loss_and_gradient(task):
    host = Trainer.of(task, task.config).host()
    batch = next(task.batches("train", task.phases[0], host).iterate(0, 1))
    batch = {name: jnp.asarray(values) for name, values in batch.items()}
    objective = task.objective

    def loss(params):
        return objective.loss(params, {}, batch, None, objective.weights(batch))[0]

    value, gradient = jax.jit(jax.value_and_grad(loss))(task.init(jax.random.key(1)))
    return batch, float(value), flatten(gradient)


@pytest.mark.parametrize("loss", LOSSES)
def test_packed_rows_have_the_loss_and_gradient_of_pairs_alone(loss, made, tmp_path):
    rows, ours, gradient = loss_and_gradient(task_of(made, tmp_path, task__loss=loss))
    single, theirs, other = loss_and_gradient(task_of(made, tmp_path, task__loss=loss, task__batching="pad"))
    assert len(rows["tokens_BL"]) < len(single["tokens_BL"]) == 32
    assert rows["weights_BP"].sum() == single["weights_BP"].sum() == 64
    assert ours == pytest.approx(theirs, rel=1e-5)
    for path, leaf in gradient.items():
        assert np.allclose(leaf, other[path], rtol=1e-3, atol=1e-6), path


@pytest.fixture(scope="module", params=LOSSES)
def trained(request, made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    values = {"task__min_label": 4.0} if request.param == "contrastive" else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(folder / "data"))
        finetune(config_of(made, task__loss=request.param, **values), folder / "run", init=made / "model")
    return folder / "run"


def test_it_learns_and_evaluate_and_the_model_say_what_the_last_line_says(trained, made):
    first, *_, last = (line for line in read_metrics(trained / "metrics.jsonl") if line["split"] == "eval")
    assert first["spearman"] < 0.3 and last["spearman"] > 0.6
    found = evaluate(trained)
    names = [name for name in last if name in found.scores and name not in ("step", "split")]
    assert {"loss", "spearman", "pearson"} <= set(names)
    assert {n: found.scores[n] for n in names} == pytest.approx({n: last[n] for n in names}, rel=1e-4)
    texts, partners, numbers = zip(*pairs(81, 1), strict=True)
    cosines = bert_jax.load(trained).similarity(texts, partners)
    assert np.corrcoef(cosines, numbers)[0, 1] == pytest.approx(last["pearson"], abs=1e-4)
    assert [row.guess for row in found.judged] == [f"{cosine:.3f}" for cosine in cosines]
    if "mse" in last:
        assert last["mse"] == pytest.approx(np.mean((cosines - np.array(numbers) / 4) ** 2), rel=1e-4)


def test_badness_is_the_distance_from_the_place_among_the_pairs(made, tmp_path):
    file = file_of(
        tmp_path, "the film\ta film\t1", "the plot\ta cast\t2", "the song\ta song\t2", "a play\ta\t5"
    )
    task = task_of(made, tmp_path, task__eval=file)
    # Two places of a row are empty; pair 3, of the largest number, has the second cosine from below.
    cosines_BP = np.array([[0.9, 0.5, 7.0], [-0.2, 0.1, 7.0]], np.float32)
    ids_BP = np.array([[2, 1, -1], [0, 3, -1]])
    judged = task.judged({"cosines_BP": cosines_BP, "features_BP": ids_BP})
    assert [(row.gold, row.guess) for row in judged] == [
        ("1", "-0.200"), ("2", "0.500"), ("2", "0.900"), ("5", "0.100")
    ]  # fmt: skip
    assert [3 * row.badness for row in judged] == pytest.approx([0, 0.5, 1.5, 2])
    assert judged[3].text == "a play ‖ a" and judged[3].place.endswith("given.tsv:5")


@pytest.mark.slow
def test_stopped_it_resumes_to_the_same_run(made, tmp_path):
    config = config_of(made, train__steps=6, train__eval_every=3, task__loss="contrastive")
    finetune(config, tmp_path / "straight", init=made / "model")
    from bert_jax.training import loop

    class _Killed(BaseException):
        pass

    real = loop._report

    def dies(run, phase, state, rate):
        if int(state.step) == 6:
            raise _Killed
        return real(run, phase, state, rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_report", dies)
        with pytest.raises(_Killed):
            finetune(config, tmp_path / "run", init=made / "model")
    finetune(config, tmp_path / "run")
    ours, theirs = (flatten(load_model(tmp_path / name).params) for name in ("run", "straight"))
    assert all(np.array_equal(ours[path], theirs[path]) for path in theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "parallel"),
    [*((loss, {"data": 2, "fsdp": 2, "tensor": 2}) for loss in LOSSES), ("cosine", {"mode": "pmap"})],
)
def test_a_step_over_eight_devices_is_that_of_one(loss, parallel, made, tmp_path):
    """The whole step of the trainer, not the loss alone: a pair's negatives lie on all devices."""
    found = []
    for devices, values in ((1, {"data": 1}), (8, parallel)):
        named = {f"parallel__{name}": value for name, value in values.items()}
        task = task_of(made, tmp_path, task__loss=loss, **named)
        trainer = Trainer.of(task, task.config, jax.devices()[:devices])
        state = trainer.new_state()
        host = dataclasses.replace(trainer.host(), multiple=8)  # the same rows for both
        batch = next(task.batches("train", task.phases[0], host).iterate(0, 1))
        _, sums = trainer.compile_train(task.phases[0], state, batch)(state, trainer.plan.place(batch))
        found.append({name: float(total) for name, (total, _) in jax.device_get(sums).items()})
    alone, shared = found
    assert shared == pytest.approx(alone, rel=1e-4)


def test_pairs_without_numbers_are_learnt_by_the_contrastive_loss_alone(made, tmp_path):
    unlabelled = [f"the {noun} was\ta {noun} is very" for noun in NOUNS] + ["the film\t \t"]
    (tmp_path / "pairs.tsv").write_text("text\ttext2\n" + "\n".join(unlabelled[:-1]) + "\nthe film\t \n")
    task = task_of(made, tmp_path, task__train=str(tmp_path / "pairs.tsv"), task__loss="contrastive")
    assert task.data.train.units == 6 and "1 passed over: empty text" in task.data.notes[0]
    assert not task.data.train.of_sequences and task.data.eval.of_sequences["targets_P"].max() == 4
    with pytest.raises(UserError, match=r"pairs\.tsv.*'label'"):
        task_of(made, tmp_path, task__train=str(tmp_path / "pairs.tsv"))


def test_only_pairs_of_a_number_or_more_are_partners(made, tmp_path):
    task = task_of(made, tmp_path, task__loss="contrastive", task__min_label=4.0)
    count = sum(number == 4 for *_, number in pairs(300, 0))
    assert (
        task.data.train.units == count
        and f"{300 - count} passed over: a number below 4" in task.data.notes[0]
    )
    assert task.data.eval.units == 81


def test_the_range_of_numbers_is_that_of_training_or_as_given(made, tmp_path):
    file = file_of(tmp_path, "the film\ta film\t1.3", "the plot\ta cast\t4.8")
    for given, expected in (
        ({}, (1.3, 4.8)),
        ({"task__label_low": 0.0, "task__label_high": 5.0}, (0.0, 5.0)),
    ):
        task = task_of(made, tmp_path, task__train=file, **given)
        found = task.config.task
        assert (found.label_low, found.label_high) == expected
        assert with_range(task.config, task.data.train) == task.config
    _, loss, _ = loss_and_gradient(task)
    params = task.init(jax.random.key(1))
    model = bert_jax.api.Model(task.model, params, task.tokenizer)
    cosines = model.similarity(["the film", "the plot"], ["a film", "a cast"])
    # 32 pairs of a step are 16 times the two.
    assert loss == pytest.approx(np.mean((cosines - np.array([1.3, 4.8]) / 5) ** 2), rel=1e-4)


def test_pooling_is_that_of_the_model_unless_it_is_named(made, tmp_path):
    found = load_model(made / "model")
    own = dataclasses.replace(
        found.config, pooler="none", head=HeadConfig(kind="embedding", pooling="cls", dropout_rate=0.1)
    )
    params = {"bert": {name: leaf for name, leaf in found.params["bert"].items() if name != "pooler"}}
    native.save_native(tmp_path / "own", params, config=own, tokenizer=found.tokenizer)
    for folder, pooling, expected in (("own", "auto", "cls"), ("own", "mean", "mean"), ("", "auto", "mean")):
        init = tmp_path / folder if folder else made / "model"
        task = open_task(config_of(made, task__pooling=pooling), tmp_path / "none", (init,))
        assert (task.model.head.kind, task.model.head.pooling) == ("embedding", expected)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_an_export_has_the_pooling_and_the_vectors(pooling, made, tmp_path):
    task = task_of(made, tmp_path, task__pooling=pooling)
    model = bert_jax.api.Model(task.model, task.init(jax.random.key(0)), task.tokenizer)
    formats.export("hf", tmp_path / "hf", model.params, config=model.config, tokenizer=model.tokenizer)
    again = bert_jax.load(tmp_path / "hf")
    assert again.config.head == HeadConfig(kind="embedding", pooling=pooling)
    np.testing.assert_allclose(again.embed(["the film ."]), model.embed(["the film ."]), atol=1e-6)


def test_bad_data_is_one_line(made, tmp_path):
    def refusal(*lines, **values):
        with pytest.raises(UserError) as caught:
            task_of(made, tmp_path, task__train=file_of(tmp_path, *lines), **values)
        return str(caught.value)

    good = "the film\ta film\t4"
    assert "given.tsv:3: the column 'score' holds 'much', must be a finite number" in refusal(
        good, "the plot\ta plot\tmuch"
    )
    for loss in ("cosine", "cosent"):
        said = refusal(good, "the plot\ta plot\t4", task__loss=loss)
        assert "every pair has the number 4" in said and f"config.task.loss={loss}" in said
    assert "label_low=9 must be < config.task.label_high=5" in refusal(
        good, "the plot\ta plot\t5", task__label_low=9.0
    )
    assert "2 fields, must be 3" in refusal("the plot\ta plot")
    (tmp_path / "single.tsv").write_text("text\tscore\nthe film\t3\n")
    with pytest.raises(UserError, match=r"single\.tsv: no column has a usual name for 'text_pair'"):
        task_of(made, tmp_path, task__train=str(tmp_path / "single.tsv"))
    with pytest.raises(ConfigError, match=r"task\.select='mse' must be one of spearman, pearson, loss"):
        task_of(made, tmp_path, task__loss="cosent", task__select="mse")


def test_lists_from_python_are_learnt(made, tmp_path):
    examples = list(pairs(60, 5))
    without = [pair[:2] for pair in examples[:30]]
    options = {"task": "similarity", "epochs": 1, "batch_size": 30, "task__max_length": 24}
    model, scores = bert_jax.finetune(
        made / "model", train=without, eval=examples[30:], task__loss="contrastive", **options
    )
    texts, partners, numbers = zip(*examples[30:], strict=True)
    cosines = model.similarity(texts, partners)
    assert np.corrcoef(cosines, numbers)[0, 1] == pytest.approx(scores["pearson"], abs=1e-4)
    with pytest.raises(UserError, match=r"train\[0\]=.* must be \(text, text_pair, label\)"):
        bert_jax.finetune(made / "model", train=without, **options)
    with pytest.raises(UserError, match=r"eval\[0\]=.* must be \(text, text_pair, label\)"):
        bert_jax.finetune(made / "model", train=without, eval=without, task__loss="contrastive", **options)


def test_the_range_is_kept_in_the_workdir(trained):
    saved = json.loads((trained / "config.json").read_text())["config"]["task"]
    expected = (0.0, 4.0) if saved["loss"] == "cosine" else (None, None)
    assert (saved["label_low"], saved["label_high"]) == expected
