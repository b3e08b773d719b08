"""A run of any kind that is killed (SIGKILL) at random moments and started again ends with the bits of an undisturbed run.

BERT_JAX_KILLS=50 kills each command fifty times.
"""

import functools
import os

import pytest

from bert_jax.__main__ import main
from bert_jax.config.loading import load
from bert_jax.data.corpus.prepare import corpus_folder
from tests import labelled
from tests.faults import preparing
from tests.faults.killing import KILLS, killed_until_done
from tests.runs import assert_same_run
from tests.tiny_models import save_tiny

pytestmark = pytest.mark.slow


def run_once(arguments):
    assert main(arguments) == 0


def test_prepare(corpus, tmp_path):
    def experiment_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return preparing.experiment(corpus, folder, folder.parent / f"{folder.name}.py")

    def command(folder):
        return ["prepare", "--config", experiment_in(folder)]

    def files(folder):
        made = corpus_folder(load(experiment_in(folder)))
        return {
            str(file.relative_to(made)): file.read_bytes() for file in made.rglob("*") if file.is_file()
        }, sorted(path.name for path in folder.iterdir() if path.suffix == ".partial")

    run_once(command(tmp_path / "straight"))
    expected = files(tmp_path / "straight")

    def check(folder):
        assert files(folder) == expected

    assert killed_until_done(command, tmp_path / "killed", check) == KILLS


def test_pretrain(experiment, straight, tmp_path):
    def command(folder):
        return ["pretrain", "--config", str(experiment), "--workdir", str(folder)]

    assert (
        killed_until_done(command, tmp_path, functools.partial(assert_same_run, expected=straight)) == KILLS
    )


def test_finetune(tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))
    model = tmp_path / "model"
    save_tiny(model, labelled.WORDS, max_positions=32, num_layers=2)
    file = labelled.write(
        tmp_path,
        task__max_length=32,
        train__batch_size=16,
        train__steps=8,
        train__log_every=1,
        train__eval_every=2,
        checkpoint__every=2,
    )

    def command(folder):
        return ["finetune", "--config", str(file), "--init", str(model), "--workdir", str(folder)]

    run_once(command(tmp_path / "straight"))
    check = functools.partial(assert_same_run, expected=tmp_path / "straight")
    assert killed_until_done(command, tmp_path / "killed", check) == KILLS


def test_distill(experiment, straight, tmp_path):
    student = tmp_path / "student.py"
    student.write_text(
        f"""
from bert_jax.config import DistilPretrainConfig, base
from bert_jax.__main__ import main
from bert_jax.config.loading import load

def get_config():
    import importlib.util
    spec = importlib.util.spec_from_file_location("experiment", {str(experiment)!r})
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = base(DistilPretrainConfig)
    config.update(module.get_config())
    config.distil.soft = 1.0
    config.distil.hard = 1.0
    return config
"""
    )

    def command(folder):
        return ["distill", "--config", str(student), "--teacher", str(straight), "--workdir", str(folder)]

    run_once(command(tmp_path / "straight"))
    check = functools.partial(assert_same_run, expected=tmp_path / "straight")
    assert killed_until_done(command, tmp_path / "killed", check) == KILLS


@pytest.mark.skipif(
    "BERT_JAX_KILLS" not in os.environ,
    reason="minutes a kill, for trials start anew: BERT_JAX_KILLS=5 asks for it",
)
def test_sweep(experiment, straight, tmp_path):
    """The sweep is killed; its trials, which are groups of their own, are told by the system, save and end."""
    file = experiment.parent / "killed_sweep.py"
    file.write_text(
        f"""
from bert_jax.sweeps import Sweep, Variant

def get_sweep():
    return Sweep(
        question="Does it end?", base={experiment.name!r}, seeds=(0,), tokens=12 * 8 * 32, probes=("mlm",),
        measures=("mlm.loss",),
        variants=tuple(Variant(name=name, values={{"data.sentence_objective": name}}) for name in ("sop", "none")),
    )
"""
    )

    def command(folder):
        return ["sweep", str(file), "--workdir", str(folder)]

    def check(folder):
        assert_same_run(folder / "trials/sop-seed0", straight)

    kills = max(2, KILLS // 5)
    assert (
        killed_until_done(
            command, tmp_path, check, kills=kills, unfinished="the same command runs these trials again"
        )
        == kills
    )
