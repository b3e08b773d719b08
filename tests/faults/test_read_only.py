"""A file system that cannot be written: what only reads works there, and what writes says so in one line."""

import json
import re
import shutil

import numpy as np
import pytest

from bert_jax.__main__ import main
from bert_jax.data.labelled import features
from bert_jax.data.step_files import StepFiles
from bert_jax.errors import UserError
from tests import labelled
from tests.faults.disk import mounted
from tests.sweeps.reporting import finished_sweep
from tests.tiny_models import save_tiny

pytestmark = pytest.mark.slow
FEATURES = features.Features(
    tokens_T=np.arange(7, dtype=np.int32),
    type_ids_T=np.zeros(7, np.uint8),
    lengths_S=np.array([3, 4], np.int32),
    examples_S=np.array([0, 1], np.int32),
)


@pytest.fixture(scope="module")
def tuning(tmp_path_factory):
    """The words of a fine-tuning but for its workdir."""
    folder = tmp_path_factory.mktemp("tuning")
    save_tiny(folder / "model", labelled.WORDS, max_positions=32, num_layers=1)
    file = labelled.write(folder, task__max_length=32, train__batch_size=16, train__steps=2)
    return ["finetune", "--config", str(file), "--init", str(folder / "model"), "--workdir"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, experiment, prepared, straight, tuning):
    """A read-only folder with a run, a fine-tuned run, a corpus with its indexes, and a sweep."""
    with pytest.MonkeyPatch.context() as patch, mounted(tmp_path_factory.mktemp("only") / "read") as disk:
        patch.setenv("BERT_JAX_DATA", str(tmp_path_factory.mktemp("data")))
        shutil.copytree(straight, disk.folder / "run")
        assert main([*tuning, str(disk.folder / "tuned")]) == 0
        shutil.copytree(prepared.data.directory, disk.folder / "prepared")
        finished_sweep.write(disk.folder / "S", seeds=(0, 1), rows=200)
        with disk.read_only():
            yield disk.folder


@pytest.fixture
def call(capsys):
    def called(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        return (status, *capsys.readouterr())

    return called


def test_what_writes_says_so_in_one_line(place, call, experiment, tuning, tmp_path):
    text = tmp_path / "in.tsv"
    text.write_text("text\tlabel\nthe film was good .\t1\n")
    sweep = experiment.parent / "read_only_sweep.py"
    sweep.write_text(
        f"""
from bert_jax.sweeps import Sweep, Variant
def get_sweep():
    return Sweep(question="Q?", base={experiment.name!r}, seeds=(0,), tokens=3072, probes=("mlm",), measures=("mlm.loss",),
                 variants=tuple(Variant(name=f"r{{r}}", values={{"masking.rate": r}}) for r in (0.1, 0.2)))
"""
    )
    commands = {
        "a run to resume": ("pretrain", "--config", experiment, "--workdir", place / "run"),
        "a new run": ("pretrain", "--config", experiment, "--workdir", place / "new"),
        "a fine-tuning to resume": (*tuning, place / "tuned"),
        "a new fine-tuning": (*tuning, place / "new"),
        "plot": ("plot", "--workdir", place / "run"),
        "hf": ("export", "--workdir", place / "run", "--format", "hf", "--out", place / "out"),
        "safetensors": ("export", "--workdir", place / "run", "--format", "safetensors", "--out", place / "out"),
        "prepare": ("prepare", "--config", experiment, f"--config.data.directory={place}", "--processes=1"),
        "sweep": ("sweep", sweep, "--workdir", place / "new"),
        "report": ("report", place / "S"),
        "probe": ("probe", "--workdir", place / "run", "--probes", "mlm"),
        "inspect": ("inspect", "--config", experiment, "--report", place / "out"),
        "augment": ("augment", "--model", place / "run", "--input", text, "--output", place / "out.tsv"),
    }  # fmt: skip
    for name, words in commands.items():
        status, _, err = call(*words)
        line = err.splitlines()[-1]
        assert status == 1 and line.startswith("bert-jax: "), (name, err)
        assert re.search("Read-only file system", line) and str(place) in line, (name, line)
        assert "Traceback" not in err, (name, err)


def test_what_only_reads_works(place, call, experiment, tmp_path):
    corpus_there = f"--config.data.directory={place / 'prepared'}"
    commands = {
        "config": ("config", "--config", experiment),
        "predict": ("predict", "--model", place / "run", "--task", "fill-mask", "the [MASK] sees."),
        "classify": ("predict", "--model", place / "tuned", "--task", "classify", "the film was good ."),
        "evaluate": ("evaluate", "--workdir", place / "run"),
        "inspect": ("inspect", "--config", experiment, corpus_there),
        "prepare": ("prepare", "--config", experiment, corpus_there),
        "status": ("sweep", "--status", "--workdir", place / "S"),
        "plot": ("plot", "--workdir", place / "run", "--out", tmp_path / "loss.png"),
        "report": ("report", place / "S", "--out", tmp_path / "report"),
        "export": ("export", "--workdir", place / "run", "--format", "hf", "--out", tmp_path / "hf"),
        "pretrain": ("pretrain", "--config", experiment, corpus_there, "--workdir", tmp_path / "run"),
    }
    for name, words in commands.items():
        status, out, err = call(*words)
        assert status == 0 and out, (name, err)


def test_scores_are_printed_though_their_report_cannot_be_written(place, call):
    status, out, err = call("evaluate", "--workdir", place / "tuned")
    assert status == 1
    assert json.loads(out.splitlines()[-1])["step"] == 2
    assert err.splitlines()[-1] == f"bert-jax: Read-only file system: {place / 'tuned' / 'report.html'}"


# Caches ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def caches(tmp_path):
    """A disk to be filled with caches, then made read-only."""
    with mounted(tmp_path / "caches") as disk:
        yield disk


def test_features_that_cannot_be_kept_are_made(caches, caplog):
    def make():
        return FEATURES

    with caches.read_only():
        found = features.cached(caches.folder / "features", {"of": "a test"}, make)
    assert found is FEATURES
    (line,) = caplog.messages
    assert "Read-only file system" in line and "are not kept" in line
    features.cached(caches.folder / "features", {"of": "a test"}, make)
    with caches.read_only():
        kept = features.cached(
            caches.folder / "features", {"of": "a test"}, lambda: pytest.fail("it is there")
        )
    np.testing.assert_array_equal(kept.tokens_T, FEATURES.tokens_T)


def test_outputs_of_a_teacher_are_read_where_they_cannot_be_written(caches, caplog):
    arrays = {"values": np.arange(6, dtype=np.float16)}

    def files(name):
        return StepFiles(caches.folder / name, ("values",), {"of": "a test"})

    made = files("x")
    made.add(0, 7, arrays)
    made.flush()
    with caches.read_only():
        opened = files("x")
        np.testing.assert_array_equal(opened.read(0, 7)["values"], arrays["values"])
        opened.add(1, 8, arrays)
        opened.flush()
        assert opened.is_full and "Read-only file system" in caplog.text
        with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\).*cache_directory"):
            files("y")
