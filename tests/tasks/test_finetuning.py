"""Fine-tuning: each example counts as if it were alone, whatever rows, devices and phases it is trained in."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.config import FinetuneConfig
from bert_jax.config.finetune import frozen_patterns, settled
from bert_jax.errors import ConfigError, UserError
from bert_jax.models.parameters import flatten
from bert_jax.tasks.evaluate import evaluate
from bert_jax.tasks.finetune import finetune, open_task
from bert_jax.tasks.load import load_model
from bert_jax.training.metrics import read_metrics
from bert_jax.training.trainer import Trainer
from tests.tasks.runs import resolved, task_of
from tests.tiny_models import save_tiny

WORDS = [
    "good", "fine", "great", "bad", "poor", "awful", "film", "plot", "cast", "the", "a", "was", "is", "very", "and", "."
]  # fmt: skip
GOOD, BAD = WORDS[:3], WORDS[3:6]


def sentences(count, seed):
    """Sentences of 2 to 20 words, "pos" if they have a good word, else "neg" with a bad one."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        is_good = bool(rng.integers(2))
        words = list(rng.choice(WORDS[6:], rng.integers(1, 20)))
        words.insert(int(rng.integers(len(words) + 1)), str(rng.choice(GOOD if is_good else BAD)))
        yield " ".join(words), is_good


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a model, and train.tsv and dev.tsv of sentences, pairs, labels and numbers."""
    folder = tmp_path_factory.mktemp("made")
    save_tiny(folder / "model", WORDS)
    for name, count, seed in (("train", 300, 0), ("dev", 101, 1)):
        lines = [f"{text}\t{'pos' if good else 'neg'}" for text, good in sentences(count, seed)]
        (folder / f"{name}.tsv").write_text("sentence\tlabel\n" + "\n".join(lines) + "\n")
        rows = [
            {"text": text, "text_pair": "a film .", "labels": ["good"] * good + ["long"] * (len(text) > 40),
             "score": len(text.split()) / 10}
            for text, good in sentences(count, seed)
        ]  # fmt: skip
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))


def config_of(made, suffix="tsv", **values):
    groups = {
        "task": {
            "train": str(made / f"train.{suffix}"),
            "eval": str(made / f"dev.{suffix}"),
            "max_length": 48,
        },
        "train": {"batch_size": 24, "epochs": 4.0},
        "optim": {"learning_rate": 3e-3},
        "model": {"head_dropout_rate": 0.0},
    }
    return resolved(groups, values)


def loss_and_gradient(task, batch):
    params = task.init(jax.random.key(1))
    objective = task.objective

    def loss(params):
        return objective.loss(params, {}, batch, None, objective.weights(batch))[0]

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    return float(value), gradient


def one_batch(task, step=0):
    batch = next(
        task.batches("train", task.phases[0], Trainer.of(task, task.config).host()).iterate(step, step + 1)
    )
    return {name: jnp.asarray(values) for name, values in batch.items()}


KINDS = {
    "classification": ("tsv", {}),
    "multilabel": ("jsonl", {"task__label": "labels", "task__kind": "multilabel"}),
    "regression": ("jsonl", {"task__label": "score", "task__kind": "regression"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_packed_rows_have_the_loss_and_gradient_of_examples_alone(kind, made, tmp_path):
    suffix, values = KINDS[kind]
    packed = task_of(config_of(made, suffix, **values), made, tmp_path)
    alone = task_of(config_of(made, suffix, task__batching="pad", **values), made, tmp_path)
    rows, single = one_batch(packed), one_batch(alone)
    assert len(rows["tokens_BL"]) < len(single["tokens_BL"]) == 24
    (loss, gradient), (loss_alone, gradient_alone) = (
        loss_and_gradient(task, batch) for task, batch in ((packed, rows), (alone, single))
    )
    assert loss == pytest.approx(loss_alone, rel=1e-5)
    for path, leaf in flatten(gradient).items():
        other = flatten(gradient_alone)[path]
        assert np.allclose(leaf, other, rtol=1e-3, atol=1e-6), path


def test_other_labels_are_other_features(made, tmp_path):
    """The cache tells apart what is learnt of the same texts."""
    classes = [
        task_of(config_of(made, task__labels=labels), made, tmp_path).data.train.of_sequences["labels_P"]
        for labels in (("neg", "pos"), ("pos", "neg"))
    ]
    np.testing.assert_array_equal(classes[0], 1 - classes[1])


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(folder / "data"))
        finetune(config_of(made), folder / "run", init=made / "model")
    return folder / "run"


def test_it_learns_and_evaluate_says_what_the_last_line_says(trained):
    last = read_metrics(trained / "metrics.jsonl")[-1]
    assert last["split"] == "eval" and last["accuracy"] > 0.8
    found = evaluate(trained)
    assert found.weights["class_loss"] == 101
    assert {name: found.scores[name] for name in ("loss", "accuracy", "f1", "matthews")} == pytest.approx(
        {name: last[name] for name in ("loss", "accuracy", "f1", "matthews")}, rel=1e-5
    )


def test_the_model_of_the_run_classifies_text(trained):
    from bert_jax import api

    model = api.load(trained, checkpoint="best")
    found = model.classify(["the film was great .", "awful plot"])
    assert [one.label for one in found] == ["pos", "neg"]
    assert all(sum(one.probabilities.values()) == pytest.approx(1) for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [{"mode": "pmap"}, {"fsdp": 2, "tensor": 2}])
def test_devices_do_not_change_what_is_learnt(parallel, made, tmp_path, trained):
    values = {f"parallel__{name}": value for name, value in parallel.items()}
    finetune(config_of(made, **values), tmp_path / "run", init=made / "model")
    ours, theirs = (
        {line["step"]: line for line in read_metrics(run / "metrics.jsonl") if line["split"] == "train"}
        for run in (tmp_path / "run", trained)
    )
    for step in (10, 20):
        assert ours[step]["loss"] == pytest.approx(theirs[step]["loss"], rel=2e-3)
        assert ours[step]["grad_norm"] == pytest.approx(theirs[step]["grad_norm"], rel=1e-2)


def test_gradual_unfreezing_is_a_phase_a_layer_and_ends_with_all():
    config = settled(
        dataclasses.replace(
            FinetuneConfig(), tuning=dataclasses.replace(FinetuneConfig().tuning, unfreeze_steps=10)
        ),
        examples=3200,
        layers=3,
    )
    assert [phase.frozen for phase in config.phases] == [frozen_patterns(depth) for depth in (4, 3, 2, 1, 0)]
    assert [round(phase.share * config.train.steps) for phase in config.phases] == [10, 10, 10, 10, 260]
    assert settled(config, examples=3200, layers=3) == config


def test_a_frozen_encoder_stays_and_the_head_learns(made, tmp_path):
    config = config_of(made, tuning__frozen="encoder", train__steps=3, train__eval_every=3)
    finetune(config, tmp_path / "run", init=made / "model")
    before, after = (flatten(load_model(folder).params) for folder in (made / "model", tmp_path / "run"))
    moved = {path for path in after if path not in before or not np.array_equal(before[path], after[path])}
    assert moved == {path for path in after if path.startswith(("task_head/", "bert/pooler/"))}


@pytest.mark.slow
def test_gradual_unfreezing_trains_a_layer_more_each_time(made, tmp_path):
    """Two phases of four steps: the head alone, then the top layer with it."""
    values = {"tuning__unfreeze_steps": 4, "train__steps": 8, "train__eval_every": 4, "checkpoint__keep": 3}
    finetune(config_of(made, **values), tmp_path / "run", init=made / "model")
    start = flatten(load_model(made / "model").params)
    moved = []
    for step in ("4", "8"):
        now = flatten(load_model(tmp_path / "run", checkpoint=step).params)
        moved.append({path for path in now if path in start and not np.array_equal(start[path], now[path])})
    assert {path.split("/")[1] for path in moved[0]} == {"pooler"}
    assert {"/".join(path.split("/")[1:3]) for path in moved[1] - moved[0]} == {"encoder/layer_2"}


def test_reinitialized_layers_and_pooler_are_fresh_and_the_rest_is_not(made, tmp_path):
    config = config_of(made, tuning__reinitialize=1, train__steps=1, optim__learning_rate=1e-12)
    config = dataclasses.replace(config, seed=1)  # the model that is read was drawn with 0
    finetune(config, tmp_path / "run", init=made / "model")
    before, after = (flatten(load_model(folder).params) for folder in (made / "model", tmp_path / "run"))
    changed = {
        path for path in before if path in after and not np.allclose(before[path], after[path], atol=1e-6)
    }
    kernels = {path for path in after if path.endswith("kernel") and path in before}
    assert changed == {p for p in kernels if p.startswith(("bert/pooler/", "bert/encoder/layer_2/"))}


def test_adam_without_correction_comes_with_a_warning(made, tmp_path, caplog):
    finetune(config_of(made, optim__name="bert_adam", train__steps=1), tmp_path / "run", init=made / "model")
    assert "bert_adam has no bias correction" in caplog.text


def test_random_weights_take_nothing(made, tmp_path):
    finetune(config_of(made, tuning__weights="random", train__steps=1), tmp_path / "run", init=made / "model")
    assert json.loads((tmp_path / "run/init.json").read_text())["taken"]["tensors"] == 0


def test_it_stops_when_patience_is_over_and_does_not_go_on(made, tmp_path):
    config = config_of(
        made, optim__learning_rate=1e-12, train__eval_every=2, train__patience=2, task__select="accuracy"
    )
    finetune(config, tmp_path / "run", init=made / "model")
    lines = read_metrics(tmp_path / "run/metrics.jsonl")
    assert max(line["step"] for line in lines) == 4  # evaluations 0, 2, 4: the first is never beaten
    finetune(config, tmp_path / "run", init=made / "model")
    assert read_metrics(tmp_path / "run/metrics.jsonl") == lines


def test_a_head_goes_on_with_its_labels_and_another_is_refused(trained, made, tmp_path):
    task = open_task(config_of(made), tmp_path / "none", (trained,))
    assert task.model.head.labels == ("neg", "pos")
    (tmp_path / "t.tsv").write_text("sentence\tlabel\na film\tx\nthe plot\ty\na cast\tz\n")
    other = config_of(made, task__train=str(tmp_path / "t.tsv"), task__eval="")
    with pytest.raises(UserError, match=r"neg, pos.*x, y, z.*tuning\.head=fresh"):
        open_task(other, tmp_path / "none", (trained,))
    fresh = dataclasses.replace(other, tuning=dataclasses.replace(other.tuning, head="fresh"))
    assert open_task(fresh, tmp_path / "none", (trained,)).model.head.labels == ("x", "y", "z")


def test_bad_data_is_one_line(made, tmp_path):
    (tmp_path / "one.tsv").write_text("sentence\tlabel\na film\tpos\nthe plot\tpos\n")
    with pytest.raises(UserError, match=r"'pos'.*two classes"):
        task_of(config_of(made, task__train=str(tmp_path / "one.tsv")), made, tmp_path)
    (tmp_path / "new.tsv").write_text("sentence\tlabel\na film\tpos\nthe plot\tmaybe\n")
    with pytest.raises(UserError, match=r"new\.tsv:3: label 'maybe'.*neg, pos"):
        task_of(config_of(made, task__eval=str(tmp_path / "new.tsv")), made, tmp_path)
    with pytest.raises(ConfigError, match=r"task\.select='f2'.*accuracy"):
        task_of(config_of(made, task__select="f2"), made, tmp_path)
    with pytest.raises(ConfigError, match=r"task\.max_length=64.*48"):
        task_of(config_of(made, task__max_length=64), made, tmp_path)


@pytest.mark.slow
def test_lists_from_python_are_learnt_and_the_model_comes_back(made, tmp_path):
    import bert_jax

    examples = [(text, "pos" if good else "neg") for text, good in sentences(200, 5)]
    options = {
        "train": examples[:150], "eval": examples[150:], "epochs": 3, "learning_rate": 3e-3, "batch_size": 16,
        "optim__schedule": "cosine", "task__max_length": 48,
    }  # fmt: skip
    model, scores = bert_jax.finetune(bert_jax.load(made / "model"), folder=tmp_path / "f", **options)
    assert model.config.head.labels == ("neg", "pos")
    found = [one.label for one in model.classify([text for text, _ in examples[150:]])]
    assert np.mean([a == b for a, (_, b) in zip(found, examples[150:], strict=True)]) == pytest.approx(
        scores["accuracy"]
    )
    _, same = bert_jax.finetune(bert_jax.load(made / "model"), folder=tmp_path / "f", **options)
    assert same == scores
    with pytest.raises(UserError, match=r"train\[1\]=.*\(text, label\)"):
        bert_jax.finetune(model, train=[("a", "pos"), ("a", "b", "neg")])
    with pytest.raises(ConfigError, match=r"optim\.rate is unknown"):
        bert_jax.finetune(model, train=examples, optim__rate=1)
