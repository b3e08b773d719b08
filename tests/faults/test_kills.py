"""A run of any kind that is killed (SIGKILL) at random moments and started again ends with the bits of an undisturbed run.

BERT_JAX_KILLS=50 kills each command fifty times.
"""

import os

import jax
import numpy as np
import pytest

from bert_jax.__main__ import main
from bert_jax.config.loading import load
from bert_jax.data.corpus.prepare import corpus_folder
from bert_jax.tasks.load import load_workdir
from bert_jax.training.metrics import read_metrics
from tests.commands.conftest import corpus, experiment, prepared, straight  # noqa: F401
from tests.faults.killing import KILLS, killed_until_done
from tests.tiny_models import save_tiny

pytestmark = pytest.mark.slow
CLOCK = ("sequences_per_s", "tokens_per_s", "mfu")


def lines(folder):
    return [
        {name: value for name, value in line.items() if name not in CLOCK}
        for line in read_metrics(folder / "metrics.jsonl")
    ]


def same_run(expected):
    """A check that a workdir has the metrics, each line once, and the parameters of `expected`."""

    def check(folder):
        assert lines(folder) == lines(expected)
        ours, theirs = (load_workdir(path)[1] for path in (folder, expected))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)

    return check


def run_once(arguments):
    assert main(arguments) == 0


def test_prepare(corpus, tmp_path):  # noqa: F811
    def experiment_in(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = folder.parent / f"{folder.name}.py"
        file.write_text(
            f"""
from bert_jax.config import base
def get_config():
    config = base()
    config.data.path = {str(corpus)!r}
    config.data.directory = {str(folder)!r}
    config.tokenizer.vocab_size = 128
    return config
"""
        )
        return str(file)

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


def test_pretrain(experiment, straight, tmp_path):  # noqa: F811
    def command(folder):
        return ["pretrain", "--config", str(experiment), "--workdir", str(folder)]

    assert killed_until_done(command, tmp_path, same_run(straight)) == KILLS


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """An experiment of fine-tuning."""
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))
    words = ["good", "bad", "film", "plot", "the", "was", "."]
    save_tiny(tmp_path / "model", words, max_positions=32, num_layers=2)
    rows = [f"the {noun} was {word} .\t{word}" for noun in ("film", "plot") for word in ("good", "bad")] * 8
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    file = tmp_path / "experiment.py"
    file.write_text(
        f"""
from bert_jax.config import FinetuneConfig, base
def get_config():
    config = base(FinetuneConfig)
    config.task.train = config.task.eval = {str(tmp_path / "train.tsv")!r}
    config.task.max_length = 32
    config.train.batch_size = 16
    config.train.steps = 8
    config.train.log_every = 1
    config.train.eval_every = 2
    config.checkpoint.every = 2
    return config
"""
    )
    return file


def test_finetune(labelled, tmp_path):
    def command(folder):
        model = str(tmp_path / "model")
        return ["finetune", "--config", str(labelled), "--init", model, "--workdir", str(folder)]

    run_once(command(tmp_path / "straight"))
    check = same_run(tmp_path / "straight")
    assert killed_until_done(command, tmp_path / "killed", check) == KILLS


def test_distill(experiment, straight, tmp_path):  # noqa: F811
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
    check = same_run(tmp_path / "straight")
    assert killed_until_done(command, tmp_path / "killed", check) == KILLS


@pytest.mark.skipif(
    "BERT_JAX_KILLS" not in os.environ,
    reason="minutes a kill, for trials start anew: BERT_JAX_KILLS=5 asks for it",
)
def test_sweep(experiment, straight, tmp_path):  # noqa: F811
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
        same_run(straight)(folder / "trials/sop-seed0")

    kills = max(2, KILLS // 5)
    assert (
        killed_until_done(
            command, tmp_path, check, kills=kills, unfinished="the same command runs these trials again"
        )
        == kills
    )
