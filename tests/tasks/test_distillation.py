"""Distillation on labelled data and on a corpus: any student, any plan, and a student that stands alone afterwards."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax import api
from bert_jax import config as configs
from bert_jax.config import DistilFinetuneConfig, DistilRun
from bert_jax.config.presets import PRESETS
from bert_jax.errors import ConfigError, UsageError, UserError
from bert_jax.interop import native
from bert_jax.models import bert
from bert_jax.models.parameters import flatten
from bert_jax.models.teacher import Needs, trimmed
from bert_jax.tasks import finetune as finetuning
from bert_jax.tasks.comparison import Comparison
from bert_jax.tasks.distill import distill
from bert_jax.tasks.distillation import Distillation
from bert_jax.tasks.evaluate import evaluate
from bert_jax.tasks.load import LoadedModel, load_model
from bert_jax.tasks.student import with_layers
from bert_jax.tasks.teachers import Found, saved_teachers
from bert_jax.training.metrics import read_metrics
from bert_jax.training.trainer import Trainer
from tests.models.variants import VARIANTS
from tests.runs import lines
from tests.tiny_models import save_tiny

WORDS = ["good", "bad", "film", "plot", "the", "a", "was", "is", "very", "and", "."]
LOSSES = {
    "soft": 1.0, "hidden_cosine": 0.5, "hidden_mse": 1.0, "attention_mse": 1.0, "attention_kl": 1.0,
    "query_relation": 1.0, "key_relation": 1.0, "value_relation": 1.0, "relation_heads": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with teachers of three layers, a smaller student, and labelled sentences."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    for name, count in (("train", 300), ("dev", 61)):
        examples = []
        for _ in range(count):
            is_good = bool(rng.integers(2))
            words = [*rng.choice(WORDS[2:], rng.integers(1, 16)), "good" if is_good else "bad"]
            examples.append(
                {
                    "text": " ".join(rng.permutation(words)),
                    "label": "pos" if is_good else "neg",
                    "words": list(map(str, words)),
                    "score": float(len(words)),
                }
            )
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in examples))
        tags = "\n\n".join(
            "\n".join(f"{word} {'N' if word in ('film', 'plot') else 'O'}" for word in line["words"])
            for line in examples
        )
        (folder / f"{name}.conll").write_text(tags + "\n")
    save_tiny(folder / "pretrained", WORDS)
    save_tiny(folder / "small", WORDS, seed=3, num_layers=1, hidden_size=16)
    save_tiny(folder / "same_width", WORDS, seed=3, num_layers=1)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))


def config_of(made, distil, **values):
    raw = configs.base(DistilFinetuneConfig).to_dict()
    raw["log"]["sinks"] = ()
    raw["task"] |= {
        "train": str(made / "train.jsonl"), "eval": str(made / "dev.jsonl"), "max_length": 40, "label": "label",
        "text": "text",
    }  # fmt: skip
    raw["train"] |= {"batch_size": 24, "epochs": 4.0, "log_every": 5}
    raw["optim"]["learning_rate"] = 3e-3
    raw["model"]["head_dropout_rate"] = 0.0
    raw["distil"] |= distil
    for key, value in values.items():
        group, name = key.split("__")
        raw[group][name] = value
    return configs.resolve(raw, DistilFinetuneConfig)


@pytest.fixture(scope="module")
def teacher(made, tmp_path_factory):
    """A fine-tuned model."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(folder / "data"))
        raw = configs.to_dict(config_of(made, {"soft": 1.0}))
        del raw["distil"]
        config = configs.resolve(raw, configs.FinetuneConfig)
        finetuning.finetune(config, folder / "run", init=made / "pretrained")
    return folder / "run"


def opened(config, made, *teachers, student="small", tmp_path):
    """The task of a new run."""
    found = [Found(place, load_model(place)) for place in teachers]
    first = found[0].model.config
    begin = finetuning.open_task(
        config, tmp_path / "none", (made / student,), known=first.head.labels, types=first.type_vocab_size
    )
    return Distillation(begin, found)


def stepped(task, *, devices=1, steps=2):
    """Sums of the first steps, gradient norms among them."""
    trainer = Trainer.of(task, task.config, jax.devices()[:devices])
    [phase] = task.phases
    state, source, found = trainer.new_state(), task.batches("train", phase, trainer.host()), []
    for batch in source.iterate(0, steps):
        state, sums = trainer.compile_train(phase, state, batch)(state, trainer.plan.place(batch))
        found.append(jax.device_get(sums))
    return found


def assert_alike(found, expected, rtol=2e-4):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=rtol, atol=1e-5, err_msg=name)


# What the step computes ----------------------------------------------------------------------------------


def every_loss(made, **values):
    return config_of(made, LOSSES | {"layer_map": (2,)}, **values)


@pytest.fixture(scope="module")
def plain(made, teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(folder))
        task = opened(every_loss(made), made, teacher, student="same_width", tmp_path=folder)
        return stepped(task)


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"parallel__fsdp": 2, "parallel__tensor": 2},
        {"parallel__mode": "pmap"},
        {"train__accumulate": 2},
        {"task__batching": "pad"},
        pytest.param({"parallel__data": 4}, marks=pytest.mark.slow),
        pytest.param({"model__layers": "scan"}, marks=pytest.mark.slow),
        pytest.param({"model__remat": "full"}, marks=pytest.mark.slow),
    ],
    ids=lambda values: ",".join(values),
)
def test_every_loss_is_the_same_however_it_is_computed(values, plain, made, teacher, tmp_path):
    task = opened(every_loss(made, **values), made, teacher, student="same_width", tmp_path=tmp_path)
    devices = 4 if any(key.startswith("parallel") for key in values) else 1
    assert_alike(stepped(task, devices=devices), plain)


def test_a_teacher_gets_no_gradient_and_is_not_saved(made, teacher, tmp_path):
    task = opened(every_loss(made), made, teacher, student="same_width", tmp_path=tmp_path)
    batch = first_batch(task)
    objective, constants = task.objective, task.constants()
    weights = objective.weights(batch)
    params = task.init(jax.random.key(0))

    def loss(params, constants):
        return objective.loss(params, constants, batch, None, weights)[0]

    ours, theirs = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, constants)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(theirs))
    moved = {path for path, leaf in flatten(ours).items() if np.any(leaf)}
    assert "distil/projection/kernel" in moved and "task_head/output/kernel" in moved
    # A key's bias adds the same to all scores of a query: without scores, relations or position it would not count.
    assert moved >= {path for path in flatten(params) if "embeddings/type" not in path}


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it(made, teacher, tmp_path):
    distil = {"soft": 1.0, "hidden_cosine": 1.0, "attention_mse": 1.0, "query_relation": 1.0}
    config = config_of(made, distil | {"layer_map": (0, 1, 2)})
    task = opened(config, made, teacher, student=teacher, tmp_path=tmp_path)
    params = jax.tree.map(jnp.asarray, load_model(teacher).params)
    sums = jax.jit(lambda batch: task.objective.sums(
        task.objective.forward(params, jax.tree.map(jnp.asarray, task.constants()), batch, None), batch))(first_batch(task))  # fmt: skip
    for name in ("soft_loss", "hidden_cosine_loss", "attention_mse_loss", "query_relation_loss"):
        assert abs(sums[name][0] / sums[name][1]) < 1e-5, name


def first_batch(task):
    source = task.batches("train", task.phases[0], Trainer.of(task, task.config).host())
    return {name: jnp.asarray(values) for name, values in next(source.iterate(0, 1)).items()}


def test_several_teachers_are_averaged(made, teacher, tmp_path):
    first, second = load_model(teacher), tmp_path / "second"
    moved = jax.tree.map(lambda leaf: np.asarray(leaf) * 1.3, first.params)
    native.save_native(second, moved, config=first.config, tokenizer=first.tokenizer)
    config = config_of(made, {"soft": 1.0, "hard": 0.0})
    both = opened(config, made, teacher, second, tmp_path=tmp_path)
    batch = first_batch(both)
    compared = both.objective.forward(both.init(jax.random.key(0)), both.constants(), batch, None)
    logits = [np.asarray(out.class_logits_BPC) / 2 for out in (compared.student, *compared.teachers)]
    q, *ps = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in logits)
    p = sum(ps) / 2
    each = 4 * (p * np.log(p / q)).sum(-1)
    found = both.objective.sums(compared, batch)["soft_loss"]
    assert float(found[0]) == pytest.approx(float((each * batch["weights_BP"]).sum()), rel=1e-4)
    with pytest.raises(UserError, match=r"2 teachers can be averaged for config.distil.soft alone"):
        opened(every_loss(made), made, teacher, second, student="same_width", tmp_path=tmp_path)


# What is computed of a teacher ---------------------------------------------------------------------------


def test_a_teacher_has_only_the_layers_and_heads_that_losses_read():
    config = dataclasses.replace(
        PRESETS["bert-mini"], vocab_size=30, hidden_size=16, num_heads=2, mlp_size=16, max_positions=16
    )
    params = jax.device_get(bert.init_params(config, jax.random.key(0)))
    needs = Needs((), 2, {1: frozenset({"values"})})
    teacher = trimmed(config, params, needs, dtype="bfloat16")
    assert teacher.config.num_layers == 2 and teacher.heads == ()
    assert teacher.params.keys() == {"bert"}
    assert teacher.params["bert"].keys() == {"embeddings", "encoder"}
    assert teacher.params["bert"]["encoder"].keys() == {"layer_0", "layer_1"}
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(teacher.params)} == {"bfloat16"}
    whole = trimmed(config, params, Needs(("mlm",)), dtype="float32")
    assert whole.config.num_layers == 4 and whole.params.keys() == {"bert", "mlm_head"}
    batch = {name: np.zeros((1, 5), np.int32) for name in ("tokens_BL", "type_ids_BL", "positions_BL")}
    batch |= {"pack_ids_BL": np.ones((1, 5), np.int32), "first_BP": np.zeros((1, 1), np.int32)}
    batch |= {"mlm_positions_BM": np.zeros((1, 2), np.int32)}
    full = bert.BertWithHeads(config).apply({"params": params}, batch)
    np.testing.assert_allclose(whole(whole.params, batch).mlm_logits_BMV, full.mlm_logits_BMV, atol=1e-5)
    cut = trimmed(config, params, needs, dtype="float32")
    np.testing.assert_allclose(cut(cut.params, batch).hidden_states[2], full.hidden_states[2], atol=1e-5)


def test_the_layers_and_heads_follow_from_the_losses():
    student = dataclasses.replace(PRESETS["tinybert-4"])
    teacher = PRESETS["bert-base"]

    def needs(**distil):
        return Comparison(configs.DistilConfig(**distil), student, teacher, "mlm").teacher_needs()

    assert needs(soft=1.0).heads == ("mlm",)
    tiny = needs(hidden_mse=1.0, attention_mse=1.0)
    assert (tiny.heads, tiny.states) == ((), 12)
    assert tiny.record == dict.fromkeys((2, 5, 8, 11), frozenset({"scores"}))
    chosen = needs(query_relation=1.0, value_relation=1.0, relation_layer=9)
    assert (chosen.states, chosen.record) == (0, {9: frozenset({"queries", "values"})})
    comparison = Comparison(configs.DistilConfig(hidden_mse=1.0), student, teacher, "mlm")
    assert comparison.states == [(0, 0), (1, 3), (2, 6), (3, 9), (4, 12)]


# Runs ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(made, teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BERT_JAX_DATA", str(folder / "data"))
        config = config_of(made, LOSSES | {"student_layers": (0,)})
        distill(config, folder / "run", teachers=[teacher])
    return folder / "run"


@pytest.mark.slow
def test_the_student_is_a_fine_tuned_model_like_any(trained, tmp_path):
    last = read_metrics(trained / "metrics.jsonl")[-1]
    assert last["accuracy"] > 0.8
    found = evaluate(trained)
    assert found.scores["accuracy"] == pytest.approx(last["accuracy"])
    assert not any("hidden" in name for name in found.scores)
    model = api.load(trained)
    assert "distil" not in model.params and model.config.num_layers == 1
    assert [one.label for one in model.classify(["good film", "bad plot"])] == ["pos", "neg"]
    assert saved_teachers(trained)


def test_the_first_parameters_are_the_teachers_layers(trained, made, teacher, tmp_path):
    report = json.loads((trained / "init.json").read_text())
    assert report["init"] == str(teacher) and not report["fresh"]


@pytest.mark.slow
def test_stopped_it_resumes_without_being_told_the_teacher(trained, made, teacher, tmp_path, monkeypatch):
    config = config_of(made, LOSSES | {"student_layers": (0,)})
    shorter = dataclasses.replace(config.checkpoint, every=11)
    config = dataclasses.replace(config, checkpoint=shorter)
    from bert_jax.training import loop

    save, calls = loop._evaluate, []

    def then_fail(run, stage, state):
        if int(state.step) == 26:
            raise KeyboardInterrupt
        calls.append(int(state.step))
        return save(run, stage, state)

    monkeypatch.setattr(loop, "_evaluate", then_fail)
    with pytest.raises(KeyboardInterrupt):
        distill(config, tmp_path / "run", teachers=[teacher])
    monkeypatch.undo()
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))
    distill(config, tmp_path / "run")
    assert lines(tmp_path / "run") == lines(trained)


def test_another_teacher_in_its_place_is_refused(trained, made, teacher, tmp_path):
    config = config_of(made, LOSSES | {"student_layers": (0,)})
    changed = load_model(teacher)
    params = jax.tree.map(lambda leaf: leaf * 1.01, jax.device_get(changed.params))
    native.save_native(tmp_path / "changed", params, config=changed.config, tokenizer=changed.tokenizer)
    with pytest.raises(ConfigError, match=r"teacher: \w{16} now, \w{16} there"):
        distill(config, trained, teachers=[tmp_path / "changed"])


def test_layers_are_cut_out_in_order(made):
    whole = load_model(made / "pretrained")
    cut = with_layers(whole, (2, 0), option="--layers")
    assert cut.config.num_layers == 2
    for number, layer in enumerate((2, 0)):
        jax.tree.map(
            np.testing.assert_array_equal,
            cut.params["bert"]["encoder"][f"layer_{number}"],
            whole.params["bert"]["encoder"][f"layer_{layer}"],
        )
    with pytest.raises(UserError, match=r"--layers=1,3 must be < 3, the layers of the model: 3 is not"):
        with_layers(whole, (1, 3), option="--layers")


def test_layers_of_a_modern_model_keep_their_reach_and_their_norms():
    """ModernBERT's first layer has no norm before its attention: others have, wherever they are put."""
    config = VARIANTS["modernbert"]
    whole = LoadedModel(config, bert.init_params(config, jax.random.key(0)), None, None)
    cut = with_layers(whole, (1, 3, 5), option="--layers")
    assert (cut.config.pattern, cut.config.norm.first) == (("local", "global"), True)
    first = with_layers(whole, (0, 3, 6), option="--layers")
    assert (first.config.pattern, first.config.norm.first) == (("global",), False)
    for found in (cut, first):  # the parameters are all that the config asks for
        shapes = jax.eval_shape(functools.partial(bert.init_params, found.config), jax.random.key(0))
        assert jax.tree.map(np.shape, found.params) == jax.tree.map(np.shape, shapes)
    with pytest.raises(UserError, match="must have layer 0 in the first place alone"):
        with_layers(whole, (3, 0), option="--layers")


# Bad input -----------------------------------------------------------------------------------------------


def refusal(made, distil, *, student="small", teachers, tmp_path, **values):
    with pytest.raises((ConfigError, UserError)) as failure:
        opened(config_of(made, distil, **values), made, *teachers, student=student, tmp_path=tmp_path)
    return str(failure.value)


@pytest.mark.parametrize(
    ("distil", "message"),
    [
        ({"hidden_cosine": 1.0}, "must go with equal widths: the student's is 16, the teacher's 32"),
        ({"query_relation": 1.0, "relation_heads": 3}, "relation_heads=3 must divide both widths: the student's is 16, the teacher's 32"),
        ({"query_relation": 1.0, "relation_layer": 3}, "relation_layer=3 must be < 3, the layers of the teacher"),
        ({"hidden_mse": 1.0, "layer_map": (0, 1)}, "layer_map=0,1 must name a layer for each of the student's 1"),
        ({"hidden_mse": 1.0, "layer_map": (3,)}, "layer_map=3 must be < 3, the layers of the teacher"),
    ],
    ids=str,
)  # fmt: skip
def test_models_that_do_not_fit_a_loss_are_one_line(distil, message, made, teacher, tmp_path):
    found = refusal(made, distil, teachers=[teacher], tmp_path=tmp_path)
    assert message in found and found.count("config.distil") == 1


def test_heads_and_layers_that_do_not_divide(made, teacher, tmp_path):
    save_tiny(tmp_path / "heads", WORDS, num_layers=2, num_heads=4)
    for name in ("attention_mse", "attention_kl"):
        found = refusal(
            made, {name: 1.0, "layer_map": () if name == "attention_kl" else (1, 2)}, student=tmp_path / "heads",
            teachers=[teacher], tmp_path=tmp_path,
        )  # fmt: skip
        assert "must go with equal heads: the student has 4, the teacher 2" in found
    found = refusal(made, {"hidden_mse": 1.0}, student=tmp_path / "heads", teachers=[teacher], tmp_path=tmp_path)  # fmt: skip
    assert "layer_map must be given where the student's 2 layers do not divide the teacher's 3" in found


def test_teachers_that_cannot_teach(made, teacher, tmp_path):
    soft = {"soft": 1.0}

    def said(place, distil=soft, **values):
        return refusal(made, distil, teachers=[place], tmp_path=tmp_path, **values)

    assert "has no task head, config.distil.soft reads one of classification" in said(made / "pretrained")
    words = [*WORDS[:-1], "!"]
    save_tiny(tmp_path / "words", words)
    assert "another vocabulary than the student's (16 and 16 entries)" in said(tmp_path / "words", {"hidden_mse": 1.0, "layer_map": (2,)})  # fmt: skip
    save_tiny(tmp_path / "short", WORDS, max_positions=24)
    found = said(tmp_path / "short", {"hidden_mse": 1.0, "layer_map": (2,)})
    assert "has 24 positions, the rows have up to 40 tokens" in found
    model = load_model(made / "pretrained")
    params = jax.device_get(model.params)
    params["bert"]["embeddings"]["token"] = np.full_like(params["bert"]["embeddings"]["token"], np.nan)
    native.save_native(tmp_path / "nan", params, config=model.config, tokenizer=model.tokenizer)
    found = said(tmp_path / "nan", {"hidden_mse": 1.0, "layer_map": (2,)})
    assert "bert/embeddings/token holds values that are not finite" in found


def test_outputs_that_are_not_finite_are_found_before_the_run(made, tmp_path):
    model = load_model(made / "pretrained")
    params = jax.device_get(model.params)
    for name in ("query", "key"):
        params["bert"]["encoder"]["layer_0"]["attention"][name]["kernel"] *= 1e30
    native.save_native(tmp_path / "huge", params, config=model.config, tokenizer=model.tokenizer)
    config = config_of(made, {"hidden_mse": 1.0, "layer_map": (2,)})
    with pytest.raises(UserError, match="huge: its outputs on the first row are not finite"):
        distill(config, tmp_path / "run", teachers=[tmp_path / "huge"], init=made / "small")
    assert not (tmp_path / "run").exists()


def test_a_run_needs_a_teacher_and_a_student(made, teacher, tmp_path, caplog):
    config = config_of(made, {"soft": 1.0})
    with pytest.raises(UsageError, match="--teacher is missing"):
        distill(config, tmp_path / "run")
    with pytest.raises(UsageError, match=r"--init is missing: the model that the student begins as"):
        distill(config, tmp_path / "run", teachers=[teacher])
    with pytest.raises(UsageError, match=r"must be left out with config.distil.student_layers"):
        distill(
            config_of(made, {"soft": 1.0, "student_layers": (0,)}), tmp_path / "run", teachers=[teacher],
            init=made / "small",
        )  # fmt: skip
    save_tiny(tmp_path / "large", WORDS, hidden_size=64, num_layers=4)
    shorter = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=1, eval_every=1))
    distill(shorter, tmp_path / "run", teachers=[teacher], init=tmp_path / "large")
    assert "the student is larger than its teacher" in caplog.text


@pytest.mark.parametrize(
    ("distil", "message"),
    [
        ({}, "without a loss that reads the teacher nothing is distilled"),
        ({"soft": 1.0, "relation_heads": 4}, "config.distil.relation_heads=4 must go with config.distil.query_relation"),
        ({"hidden_mse": 1.0, "temperature": 3.0}, "config.distil.temperature=3.0 must go with config.distil.soft > 0"),
        ({"soft": 1.0, "quirks": ("padding",)}, "config.distil.quirks=padding must go with config.distil.hidden_mse"),
        ({"hidden_mse": 1.0, "quirks": ("padding",)}, "must go with config.task.batching='pad', it is 'pack'"),
        ({"soft": 1.0, "soft_at": "all"}, "must go with pretraining: a task says where it predicts"),
        ({"soft": 1.0, "embedding": "mse"}, "must go with config.task.kind='similarity', it is 'classification'"),
        ({"soft": -1.0}, "config.distil.soft=-1.0 must be >= 0"),
        ({"hidden_mse": 1.0, "layer_map": (-1,)}, "config.distil.layer_map=(-1,) must be layers, counted from 0"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_do_nothing_are_refused(distil, message, made):
    with pytest.raises(ConfigError) as failure:
        config_of(made, distil)
    assert message in str(failure.value)


def test_each_command_takes_its_own_experiments(made):
    raw = configs.to_dict(config_of(made, {"soft": 1.0}))
    assert isinstance(configs.resolve(raw, DistilRun), DistilFinetuneConfig)
    with pytest.raises(ConfigError, match="one of `bert-jax distill`, not pretrain"):
        configs.resolve(raw, configs.PretrainConfig)
    with pytest.raises(UsageError, match="is an experiment for `bert-jax distill`"):
        configs.check_command(config_of(made, {"soft": 1.0}), "finetune", "x.py")
