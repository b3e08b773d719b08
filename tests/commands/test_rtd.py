"""Replaced-token detection as a user runs it: trained, resumed, evaluated, and the same on any devices."""

import dataclasses

import jax
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax.benchmarks.synthetic import synthetic
from bert_jax.commands import evaluate, pretrain
from bert_jax.config.electra import discriminator_config, generator_config
from bert_jax.models.flops import training_flops
from bert_jax.tasks.choose import task_of
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.trainer import Trainer
from tests.runs import lines, stopped


def make_config(prepared):
    """The shared corpus, two heads; the generator has one of them."""
    raw = configs.to_dict(prepared)
    raw["data"] |= {"sentence_objective": "none"}
    raw["objective"] |= {"name": "rtd", "generator_width": 0.5}
    raw["model"] |= {"num_heads": 2, "dropout_rate": 0.0, "attention_dropout_rate": 0.0}
    raw["optim"] |= {"learning_rate": 5e-3}
    raw["train"] |= {"steps": 6, "log_every": 3, "eval_every": 6, "eval_batches": 0}
    raw["checkpoint"] |= {"every": 3}
    return configs.resolve(raw)


@pytest.fixture(scope="module")
def config(prepared):
    return make_config(prepared)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("rtd") / "run"
    pretrain.run(config, workdir)
    return workdir


def params(workdir, config):
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        shapes = Trainer.of(task_of(config), config).abstract_state().params
        return jax.device_get(checkpoints.restore_params(shapes, checkpoints.choose("last")))


def test_a_run_reports_both_losses_and_learns(run):
    evaluated = [line for line in lines(run) if line["split"] == "eval"]
    assert [line["step"] for line in evaluated] == [0, 6]
    for line in lines(run):
        assert line["loss"] == pytest.approx(line["mlm_loss"] + 50 * line["rtd_loss"], rel=1e-5)
        assert 0 < line["replaced"] < 0.2  # of 15 % that were masked
        assert {"rtd_accuracy", "rtd_recall", "mlm_accuracy"} <= line.keys()
    first, last = evaluated
    assert first["rtd_loss"] == pytest.approx(np.log(2), abs=0.02)
    assert last["rtd_loss"] < first["rtd_loss"] - 0.02 and last["mlm_loss"] < first["mlm_loss"] - 0.1


def test_evaluate_is_the_runs_own_and_counts_every_held_out_token_once(run, capsys):
    values = evaluate.run(run)
    last = [line for line in lines(run) if line["split"] == "eval"][-1]
    assert values["step"] == 6
    for name in ("loss", "mlm_loss", "rtd_loss", "rtd_recall", "replaced"):
        assert values[name] == pytest.approx(last[name], rel=1e-6)
    assert "rtd_loss" in capsys.readouterr().out


@pytest.mark.slow
def test_stopped_it_resumes_to_the_same_run(config, run, tmp_path):
    from bert_jax.data.batches.pipeline import Batches

    with stopped(Batches, 4):
        pretrain.run(config, tmp_path / "run")
    pretrain.run(config, tmp_path / "run")
    assert lines(tmp_path / "run") == lines(run)
    jax.tree.map(np.testing.assert_array_equal, params(tmp_path / "run", config), params(run, config))


# ---------------------------------------------------------------------------------------------
# The same on any devices
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def start(config):
    """The state before step 0, on the host: its first step has dropout."""
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, dropout_rate=0.1))
    return config, jax.device_get(Trainer.of(task_of(config), config, jax.devices()[:1]).new_state())


@pytest.fixture(scope="module")
def batch(config):
    """Rows of uneven lengths and predictions."""
    batch = synthetic(config, 16)
    slots = batch["mlm_weights_BM"].shape[1]
    used_BM = np.arange(slots) < 1 + np.arange(16)[:, None] % slots
    batch["pack_ids_BL"][:3, 20:] = 0
    used_BM &= np.take_along_axis(batch["pack_ids_BL"], batch["mlm_positions_BM"], 1) > 0
    used_BM[:, 0] = True
    batch["mlm_positions_BM"][:, 0] = 1
    return batch | {"mlm_weights_BM": used_BM.astype(np.float32)}


def stepped(start, batch, devices, mode="jit", accumulate=1):
    """Sums of one training step on `devices`."""
    config, state = start
    config = dataclasses.replace(
        config,
        parallel=dataclasses.replace(config.parallel, mode=mode),
        train=dataclasses.replace(config.train, batch_size=16, accumulate=accumulate),
    )
    parts = Trainer.of(task_of(config), config, jax.devices()[:devices])
    state = jax.device_put(state, parts.plan.state_shardings(state))
    [phase] = parts.task.phases
    _, sums = parts.compile_train(phase, state, batch)(state, parts.plan.place(batch))
    return jax.device_get(sums)


@pytest.fixture(scope="module")
def reference(start, batch):
    return stepped(start, batch, 1)


@pytest.mark.parametrize(
    ("devices", "mode", "accumulate"),
    [(8, "jit", 2), pytest.param(8, "pmap", 1, marks=pytest.mark.slow)],
    ids=str,
)
def test_same_as_one_device(start, batch, reference, devices, mode, accumulate):
    """What was drawn, to the token; both losses and the gradient norm, to rounding."""
    found = stepped(start, batch, devices, mode, accumulate)
    assert found["replaced"] == reference["replaced"] and 0 < found["replaced"][0] < found["replaced"][1]
    for name in reference:
        np.testing.assert_allclose(found[name], reference[name], rtol=3e-5, err_msg=name)


# ---------------------------------------------------------------------------------------------


def test_flops_are_those_of_both_encoders(config):
    sizes = {"length": 32, "slots": config.masking.max_predictions}
    generator = generator_config(config.model, config.objective)
    assert task_of(config).row_flops(config) == training_flops(
        generator, **sizes, heads=("mlm",)
    ) + training_flops(discriminator_config(config.model), **sizes, heads=("rtd",))


def test_bench_has_no_baseline_for_it(experiment):
    arguments = ["--config", str(experiment), "--what", "step", "--baseline", "hf"]
    overrides = ["--config.objective.name=rtd", "--config.data.sentence_objective=none"]
    from bert_jax.__main__ import main

    assert main(["bench", *arguments, *overrides]) == 2
