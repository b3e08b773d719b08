"""Distillation on a prepared corpus, as a user runs it: the command, what it leaves, and what other commands make of it."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from bert_jax import __main__ as program
from bert_jax import config as configs
from bert_jax.commands import distill, evaluate, export
from bert_jax.config import DistilPretrainConfig
from bert_jax.errors import ConfigError, UsageError, UserError
from bert_jax.interop import native
from bert_jax.models.parameters import flatten
from bert_jax.tasks.choose import task_of
from bert_jax.tasks.distillation import Distillation
from bert_jax.tasks.load import load_model
from bert_jax.tasks.teachers import Found
from bert_jax.training.metrics import read_metrics
from bert_jax.training.trainer import Trainer
from tests.tiny_models import save_tiny

DISTILBERT = {"soft": 5.0, "hard": 2.0, "hidden_cosine": 1.0, "soft_at": "all", "student_layers": (0,)}


def changed(prepared, distil, **groups):
    """The prepared experiment as one of distillation."""
    raw = configs.to_dict(prepared)
    raw["distil"] = distil
    for group, values in groups.items():
        raw[group] = {**raw[group], **values} if isinstance(raw[group], dict) else values
    return configs.resolve(raw, DistilPretrainConfig)


@pytest.fixture(scope="module")
def student(prepared, straight, tmp_path_factory):
    """A DistilBERT of the plain run: neither types nor pooler."""
    workdir = tmp_path_factory.mktemp("student") / "run"
    config = changed(
        prepared, DISTILBERT, data={"sentence_objective": "none"},
        model={"family": "distilbert", "type_vocab_size": 0, "pooler": "none"},
        phases=({"frozen": ("^bert/embeddings/position$",)},),
    )  # fmt: skip
    distill.run(config, workdir, teachers=[straight])
    return workdir


def test_it_logs_every_loss_and_is_an_ordinary_run_afterwards(student, straight, capsys):
    lines = read_metrics(student / "metrics.jsonl")
    first, last = ([line for line in lines if line["split"] == "eval"][place] for place in (0, -1))
    for name in ("soft_loss", "hidden_cosine_loss", "mlm_loss"):
        assert np.isfinite([first[name], last[name]]).all()
    assert last["loss"] == pytest.approx(
        5 * last["soft_loss"] + last["hidden_cosine_loss"] + 2 * last["mlm_loss"], rel=1e-4
    )
    values = evaluate.run(student)
    assert values["mlm_loss"] == pytest.approx(last["mlm_loss"], abs=0.3)
    assert "soft_loss" not in values
    assert json.loads((student / "teacher.json").read_text()) == {"teachers": [str(straight)]}
    begun, found = load_model(straight).params, load_model(student).params
    frozen = "bert/embeddings/position"
    np.testing.assert_array_equal(flatten(found)[frozen], flatten(begun)[frozen])
    assert np.any(flatten(found)["bert/embeddings/token"] != flatten(begun)["bert/embeddings/token"])


def test_the_student_opens_in_transformers_with_the_same_logits(student, tmp_path):
    transformers = pytest.importorskip("transformers", reason="compares with transformers")
    torch = pytest.importorskip("torch", reason="compares with transformers")
    import bert_jax

    export.run(student, tmp_path / "hf")
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "hf").eval()
    assert type(theirs).__name__ == "DistilBertForMaskedLM"
    ids = np.arange(5, 15)[None]
    with torch.inference_mode():
        logits = theirs(input_ids=torch.from_numpy(ids)).logits.numpy()
    np.testing.assert_allclose(bert_jax.load(student)(ids).mlm_logits_BLV, logits, atol=2e-4)


def test_the_command_line_says_what_it_takes(experiment, straight, tmp_path, capsys):
    file = tmp_path / "student.py"
    file.write_text(
        f"""
import runpy
from bert_jax.config import DistilPretrainConfig, base

def get_config():
    plain = runpy.run_path({str(experiment)!r})["get_config"]().to_dict()
    config = base(DistilPretrainConfig)
    for group, values in plain.items():
        if isinstance(values, dict):
            for name, value in values.items():
                config[group][name] = value
    config.distil.value_relation = 1.0
    config.distil.hard = 0.0
    return config
"""
    )
    words = ["distill", "--config", str(file), "--teacher", str(straight), "--workdir", str(tmp_path / "run")]
    assert program.main(words) == 0
    assert "trained" in capsys.readouterr().out
    assert program.main([*words[:3], "--workdir", str(tmp_path / "other")]) == 2
    assert "--teacher is missing" in capsys.readouterr().err
    assert program.main([*words, "--seeds", "0,1"]) == 2
    assert "--seeds goes with labelled data" in capsys.readouterr().err
    assert program.main(["pretrain", "--config", str(file), "--workdir", str(tmp_path / "other")]) == 2
    assert "is an experiment for `bert-jax distill`" in capsys.readouterr().err
    assert program.main(["distill", "--config", str(experiment), *words[3:]]) == 2
    assert "is an experiment for `bert-jax pretrain`" in capsys.readouterr().err


@pytest.mark.slow
def test_heads_that_nothing_trains_stay_as_they_began(prepared, straight, tmp_path):
    config = changed(prepared, {"hidden_mse": 1.0, "attention_mse": 1.0, "hard": 0.0}, seed=3)
    distill.run(config, tmp_path / "run", teachers=[straight])
    found = flatten(load_model(tmp_path / "run").params)
    fresh = flatten(jax.jit(task_of(config).init)(jax.random.key(3)))
    still = {path for path in fresh if np.array_equal(found[path], fresh[path])}
    heads = {path for path in fresh if path.startswith(("mlm_head", "pair_head", "bert/pooler"))}
    assert heads and heads <= still
    assert not any("encoder" in path and path.endswith("kernel") for path in still)
    last = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    assert "mlm_loss" not in last and last["hidden_mse_loss"] > 0


def stepped(config, straight, devices):
    task = Distillation(task_of(config), [Found(straight, load_model(straight))])
    trainer = Trainer.of(task, config, jax.devices()[:devices])
    [phase] = task.phases
    state, found = trainer.new_state(), []
    source = task.batches("train", phase, trainer.host())
    for batch in source.iterate(0, 2):
        state, sums = trainer.compile_train(phase, state, batch)(state, trainer.plan.place(batch))
        found.append(jax.device_get(sums))
    return found


EVERY = {
    "soft": 1.0, "soft_at": "all", "hidden_cosine": 1.0, "hidden_mse": 1.0, "attention_mse": 1.0, "attention_kl": 1.0,
    "query_relation": 1.0, "key_relation": 1.0, "value_relation": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def alone(prepared, straight):
    config = changed(prepared, EVERY, model={"dropout_rate": 0.0, "attention_dropout_rate": 0.0})
    return stepped(config, straight, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parallel", "train"),
    [({"fsdp": 2, "tensor": 2}, {}), ({"mode": "pmap"}, {"accumulate": 2}), ({"data": 4}, {"accumulate": 2})],
    ids=str,
)
def test_the_same_on_four_devices_as_on_one(parallel, train, alone, prepared, straight):
    rates = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0}
    config = changed(prepared, EVERY, model=rates, parallel=parallel, train=train)
    for ours, theirs in zip(stepped(config, straight, 4), alone, strict=True):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_a_bfloat16_teacher_is_close_to_a_float32_one(alone, prepared, straight):
    rates = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0}
    config = changed(prepared, EVERY | {"teacher_dtype": "bfloat16"}, model=rates)
    found = stepped(config, straight, 1)
    for name in ("soft_loss", "hidden_mse_loss", "attention_mse_loss"):
        assert found[0][name][0] != alone[0][name][0]
    assert found[0]["hidden_mse_loss"][0] == pytest.approx(alone[0]["hidden_mse_loss"][0], rel=0.02)


@pytest.mark.slow
def test_resumed_it_ends_with_the_same_parameters(prepared, straight, tmp_path):
    config = changed(prepared, {"soft": 1.0, "hidden_mse": 1.0})
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    distill.run(config, whole, teachers=[straight])
    from bert_jax.training import loop

    evaluate_, patch = loop._evaluate, pytest.MonkeyPatch()

    def then_fail(run, stage, state):
        if int(state.step) == 6:
            raise KeyboardInterrupt
        return evaluate_(run, stage, state)

    with patch.context() as patched:
        patched.setattr(loop, "_evaluate", then_fail)
        with pytest.raises(KeyboardInterrupt):
            distill.run(config, stopped, teachers=[straight])
    distill.run(config, stopped)
    ours, theirs = (flatten(load_model(folder).params) for folder in (whole, stopped))
    for path, leaf in ours.items():
        np.testing.assert_array_equal(leaf, theirs[path], err_msg=path)


def test_teachers_that_do_not_fit_the_corpus(prepared, straight, tmp_path):
    save_tiny(tmp_path / "words", ["red", "blue"])
    with pytest.raises(UserError) as failure:
        distill.run(
            changed(prepared, {"hidden_mse": 1.0, "layer_map": (2,)}),
            tmp_path / "run",
            teachers=[tmp_path / "words"],
        )
    assert "another vocabulary than the student's (7 and 128 entries)" in str(failure.value)
    assert f"prepare the corpus with config.tokenizer.path={tmp_path / 'words'}" in str(failure.value)
    model = load_model(straight)
    bare = {"bert": jax.device_get(model.params["bert"])}
    native.save_native(tmp_path / "bare", bare, config=model.config, tokenizer=model.tokenizer)
    with pytest.raises(UserError, match=r"bare: has no MLM head, which config.distil.soft reads"):
        distill.run(changed(prepared, {"soft": 1.0}), tmp_path / "run", teachers=[tmp_path / "bare"])
    with pytest.raises(ConfigError, match=r"student_layers=0,0 must name 1 layers"):
        distill.run(
            changed(prepared, {"soft": 1.0, "student_layers": (0, 0)}), tmp_path / "run", teachers=[straight]
        )
    with pytest.raises(UsageError, match="must be left out with"):
        distill.run(
            changed(prepared, DISTILBERT), tmp_path / "run", teachers=[straight], init=tmp_path / "bare"
        )
    assert not (tmp_path / "run").exists()


def test_what_does_not_go_with_a_corpus(prepared):
    for distil, groups, message in (
        ({"soft": 1.0, "embedding": "mse"}, {}, "must go with config.task.kind='similarity'"),
        ({"soft": 1.0}, {"objective": {"name": "rtd"}}, "config.objective.name='rtd' must be 'mlm'"),
        (
            {"hidden_mse": 1.0, "quirks": ("padding",)},
            {"data": {"packing": 2, "sentence_objective": "none"}},
            "must go with config.data.packing=1, it is 2",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            changed(prepared, distil, **groups)


def test_packed_rows_count_as_examples_alone(prepared, straight):
    """Every loss of a row of two examples is the mean of both alone."""
    config = changed(prepared, EVERY, model={"dropout_rate": 0.0, "attention_dropout_rate": 0.0})
    task = Distillation(task_of(config), [Found(straight, load_model(straight))])
    rng = np.random.default_rng(0)
    lengths, length, slots = (9, 14), 32, config.masking.max_predictions

    def batch_of(groups):
        rows = {name: np.zeros_like(array) for name, array in task.phases[0].spec.zeros(len(groups)).items()}
        for name in ("first_BP", "pair_labels_BP", "pair_weights_BP"):
            rows[name] = np.zeros((len(groups), 2), rows[name].dtype)
        for row, examples in enumerate(groups):
            start = 0
            for slot, (ids, weight) in enumerate(examples):
                span = slice(start, start + len(ids))
                rows["tokens_BL"][row, span] = ids
                rows["positions_BL"][row, span] = np.arange(len(ids))
                rows["pack_ids_BL"][row, span] = slot + 1
                rows["first_BP"][row, slot] = start
                rows["pair_weights_BP"][row, slot] = weight
                rows["mlm_positions_BM"][row, slot] = start + 2
                rows["mlm_targets_BM"][row, slot] = 7
                rows["mlm_weights_BM"][row, slot] = 1
                start += len(ids)
        assert length >= start and slots >= 2
        return rows

    one, two = (rng.integers(5, 100, size) for size in lengths)
    packed, apart = batch_of([[(one, 1), (two, 1)]]), batch_of([[(one, 1)], [(two, 1)]])
    params = task.init(jax.random.key(1))
    forward = jax.jit(lambda batch: task.objective.sums(
        task.objective.forward(params, task.constants(), batch, None), batch))  # fmt: skip
    together, each = forward(packed), forward(apart)
    for name in together:
        np.testing.assert_allclose(together[name], each[name], rtol=3e-4, atol=1e-5, err_msg=name)


def test_seeds_of_the_config_bind_the_workdir(student, prepared, straight):
    config = changed(
        prepared, DISTILBERT | {"soft": 4.0}, data={"sentence_objective": "none"},
        model={"family": "distilbert", "type_vocab_size": 0, "pooler": "none"},
        phases=({"frozen": ("^bert/embeddings/position$",)},),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"config.distil.soft: 4.0 now, 5.0 there"):
        distill.run(config, student, teachers=[straight])
    assert dataclasses.is_dataclass(config)


def test_z_loss_is_of_the_students_own_loss(prepared):
    """Beside the teacher's alone it would do nothing."""
    with pytest.raises(ConfigError, match=r"config.objective.z_loss=0.1 must go with config.distil.hard > 0"):
        changed(prepared, {"soft": 1.0, "hard": 0.0}, objective={"z_loss": 0.1})
    config = changed(prepared, {"soft": 1.0, "hard": 2.0}, objective={"z_loss": 0.1})
    assert config.objective.z_loss == 0.1
