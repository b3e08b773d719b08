"""The task contract: a task of twenty lines trains, is scored, resumes, and runs on every plan, with no change
to any other file of the package."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax.config import ParallelConfig
from bert_jax.errors import UsageError
from bert_jax.training import trainer as trainers
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.trainer import Trainer
from tests.runs import lines, stopped
from tests.tasks.regression import Regression, Rows

CONFIG = configs.resolve(
    {
        "tokenizer": {"vocab_size": 64},
        "data": {"sequence_length": 8, "sentence_objective": "none"},
        "model": {
            "preset": "bert-tiny", "hidden_size": 32, "num_heads": 4, "mlp_size": 64, "num_layers": 1,
            "max_positions": 8, "pooler": "none",
        },
        "optim": {"warmup_steps": 2, "learning_rate": 3e-3},
        "train": {"steps": 40, "batch_size": 16, "log_every": 5, "eval_every": 10},
        "checkpoint": {"every": 10, "keep": 1},
    }
)  # fmt: skip
MESH = {"data": 2, "fsdp": 2, "tensor": 2}


def with_plan(**parallel):
    return dataclasses.replace(CONFIG, parallel=ParallelConfig(**parallel))


def params_of(workdir, step):
    trainer = Trainer.of(Regression(CONFIG), CONFIG, jax.devices()[:1])
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        return jax.device_get(checkpoints.restore_params(trainer.abstract_state().params, step))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("toy") / "straight"
    trainers.run(Regression(CONFIG), CONFIG, workdir)
    return workdir


def test_it_trains_and_is_scored_on_the_predictions_of_all_rows(straight):
    held_out = [line for line in lines(straight) if line["split"] == "eval"]
    assert [line["step"] for line in held_out] == [0, 10, 20, 30, 40]
    assert held_out[-1]["mse"] < held_out[0]["mse"] / 2
    assert held_out[-1]["correlation"] > 0.5 > held_out[0]["correlation"]
    # By hand, row by row: 19 rows in two batches, of which the second is filled up.
    task = Regression(CONFIG)
    guesses, scores = [], []
    for batch in task.batches("eval", task.phases[0], trainers.make_plan(CONFIG).host()).iterate(0, 2):
        out = task.objective.forward(params_of(straight, 40), task.constants(), batch, None)
        keep = batch["example_ids_B"] < 19
        guesses += np.asarray(out)[keep].tolist()
        scores += batch["scores_B"][keep].tolist()
    assert len(guesses) == 19
    assert held_out[-1]["correlation"] == pytest.approx(np.corrcoef(guesses, scores)[0, 1], rel=1e-4)


def test_the_best_checkpoint_is_the_metrics_of_the_task(straight):
    scores = {
        line["step"]: line["correlation"]
        for line in lines(straight)
        if line["split"] == "eval" and line["step"]
    }
    with Checkpoints(straight / "checkpoints", select=Regression.select, read_only=True) as checkpoints:
        assert checkpoints.best() == max(scores, key=scores.get)


def test_stopped_it_resumes_to_the_same_run_bit_for_bit(straight, tmp_path):
    with stopped(Rows, 17):
        trainers.run(Regression(CONFIG), CONFIG, tmp_path / "run")
    trainers.run(Regression(CONFIG), CONFIG, tmp_path / "run")
    assert lines(tmp_path / "run") == lines(straight)
    jax.tree.map(np.testing.assert_array_equal, params_of(tmp_path / "run", 40), params_of(straight, 40))


def stepped(config, devices, **changes):
    """(sums of two steps, gradient norms among them; scores of the state after them)."""
    task = Regression(dataclasses.replace(config, **changes))
    trainer = Trainer.of(task, task.config, jax.devices()[:devices])
    [phase] = task.phases
    state, source = trainer.new_state(), task.batches("train", phase, trainer.plan.host())
    step, found = trainer.compile_train(phase, state, source.iterate(0, 1).__next__()), []
    for batch in source.iterate(0, 2):
        state, sums = step(state, trainer.plan.place(batch))
        found.append(jax.device_get(sums))
    held_out = task.batches("eval", phase, trainer.plan.host())
    return found, trainer.evaluator(held_out, phase).scores(state.params)


@pytest.fixture(scope="module")
def alone():
    return stepped(CONFIG, 1)


@pytest.mark.parametrize(
    "parallel",
    [MESH, *(pytest.param(each, marks=pytest.mark.slow) for each in ({}, {"mode": "pmap"}))],
    ids=str,
)
def test_the_same_on_eight_devices_as_on_one(alone, parallel):
    sums, scores = stepped(with_plan(**parallel), 8)
    for found, expected in zip(sums, alone[0], strict=True):
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=3e-5, err_msg=name)
    assert scores == pytest.approx(alone[1], rel=1e-4)
    assert scores.keys() == {"loss", "mse", "correlation"}


EMA = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, ema=0.8, steps=6, eval_every=2))


def averages(config, devices, steps=3):
    """(the average after each step, the parameters after each, the state), the first by the trainer."""
    trainer = Trainer.of(Regression(config), config, jax.devices()[:devices])
    [phase] = trainer.task.phases
    state, source = trainer.new_state(), trainer.task.batches("train", phase, trainer.plan.host())
    step = trainer.compile_train(phase, state, next(source.iterate(0, 1)))
    found = [jax.device_get((state.average, state.params))]
    for batch in source.iterate(0, steps):
        state, _ = step(state, trainer.plan.place(batch))
        found.append(jax.device_get((state.average, state.params)))
    return found, state


@pytest.fixture(scope="module")
def averaged_alone():
    return averages(EMA, 1)[0]


@pytest.mark.parametrize(
    "parallel",
    [MESH, *(pytest.param(each, marks=pytest.mark.slow) for each in ({}, {"mode": "pmap"}))],
    ids=str,
)
def test_the_average_is_the_same_on_every_plan_and_lies_where_the_parameters_do(averaged_alone, parallel):
    found, state = averages(dataclasses.replace(EMA, parallel=ParallelConfig(**parallel)), 8)
    jax.tree.map(np.testing.assert_array_equal, *found[0])  # it begins as the parameters
    for ours, theirs in zip(found, averaged_alone, strict=True):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-4), ours, theirs)
    places = [jax.tree.map(lambda leaf: leaf.sharding, tree) for tree in (state.average, state.params)]
    assert places[0] == places[1]
    if parallel == MESH:
        kernel = state.average["bert"]["encoder"]["layer_0"]["mlp_in"]["kernel"]
        assert kernel.sharding.spec == jax.sharding.PartitionSpec("fsdp", "tensor")


def test_a_run_with_an_average_resumes_bit_for_bit_and_is_scored_by_it(averaged_alone, tmp_path):
    trainers.run(Regression(EMA), EMA, tmp_path / "straight")
    with stopped(Rows, 3):
        trainers.run(Regression(EMA), EMA, tmp_path / "run")
    trainer = Trainer.of(Regression(EMA), EMA, jax.devices()[:1])
    with Checkpoints(tmp_path / "run" / "checkpoints", read_only=True) as checkpoints:
        state = jax.device_get(checkpoints.restore(trainer.abstract_state(), 3))
    for saved, expected in zip((state.average, state.params), averaged_alone[3], strict=True):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-4), saved, expected)
    trainers.run(Regression(EMA), EMA, tmp_path / "run")
    assert lines(tmp_path / "run") == lines(tmp_path / "straight")
    states = []
    for name in ("run", "straight"):
        with Checkpoints(tmp_path / name / "checkpoints", read_only=True) as checkpoints:
            states.append(jax.device_get(checkpoints.restore(trainer.abstract_state(), 6)))
    jax.tree.map(np.testing.assert_array_equal, *states)
    # What is read and what was scored is the average, and not the parameters.
    jax.tree.map(np.testing.assert_array_equal, params_of(tmp_path / "run", 6), states[0].average)
    task = trainer.task
    evaluator = trainer.evaluator(task.batches("eval", task.phases[0], trainer.host()), task.phases[0])
    scores = [
        evaluator.scores(trainer.plan.place_constants(p)) for p in (states[0].average, states[0].params)
    ]
    [last] = [line for line in lines(tmp_path / "run") if line["split"] == "eval" and line["step"] == 6]
    assert last["mse"] == pytest.approx(scores[0]["mse"], rel=1e-4)
    assert abs(scores[0]["mse"] / scores[1]["mse"] - 1) > 1e-3


def test_constants_are_placed_as_parameters_and_neither_trained_donated_nor_saved(straight):
    config = with_plan(**MESH)
    trainer = Trainer.of(Regression(config), config, jax.devices())
    state, [phase] = trainer.new_state(), trainer.task.phases
    kernel = trainer.constants["fixed"]["bert"]["encoder"]["layer_0"]["mlp_in"]["kernel"]
    trained = state.params["bert"]["encoder"]["layer_0"]["mlp_in"]["kernel"]
    assert kernel.sharding == trained.sharding
    assert kernel.sharding.spec == jax.sharding.PartitionSpec("fsdp", "tensor")
    before = jax.device_get(trainer.constants)
    source = trainer.task.batches("train", phase, trainer.plan.host())
    batch = next(source.iterate(0, 1))
    step = trainer.compile_train(phase, state, batch)
    state, _ = step(state, trainer.plan.place(batch))
    assert trained.is_deleted() and not kernel.is_deleted()
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(trainer.constants), before)
    assert "fixed" not in params_of(straight, 40)
    with Checkpoints(straight / "checkpoints", read_only=True) as checkpoints:
        assert not list((checkpoints.directory / "40").rglob("*fixed*"))


def test_the_constants_count(alone, monkeypatch):
    """The comparison can fail: another fixed encoder gives other sums."""
    monkeypatch.setattr(
        Regression, "constants", lambda self: {"fixed": Regression.init(self, jax.random.key(8))}
    )
    sums, _ = stepped(CONFIG, 1)
    assert abs(sums[0]["mse"][0] - alone[0][0]["mse"][0]) > 1e-4


def test_a_task_that_starts_from_nothing_says_so(tmp_path):
    with pytest.raises(UsageError, match=r"--init .*model: this task starts with fresh parameters only"):
        trainers.run(Regression(CONFIG), CONFIG, tmp_path / "run", init=(tmp_path / "model",))
    assert not (tmp_path / "run").exists()
