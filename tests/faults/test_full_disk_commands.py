"""Commands on a disk that fills on the way: one line, and where there is room again the same command ends with the bits of
an undisturbed run.

BERT_JAX_FILLS=40 fills the disk to forty levels for each command.
"""

import functools
import os

import pytest

from bert_jax.config.loading import load
from bert_jax.data.corpus.prepare import corpus_folder
from tests import labelled
from tests.faults import forked, preparing
from tests.faults.disk import refused_then_done
from tests.faults.writers import contents
from tests.runs import assert_same_run
from tests.tiny_models import save_tiny

pytestmark = pytest.mark.slow
LEVELS = int(os.environ.get("BERT_JAX_FILLS", "2"))


def straight_run(arguments, output):
    assert forked.call(arguments, output) == 0, output.read_text()[-2000:]


@pytest.mark.parametrize("processes", [1, 2])
def test_prepare(disk, tmp_path, processes):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Document {n} is one of {n % 7}.\nIt ends." for n in range(9000)))

    def experiment_in(folder):
        return preparing.experiment(text, folder, tmp_path / f"{folder.parent.name}-{folder.name}.py")

    def command(folder):
        return ["prepare", "--config", experiment_in(folder), f"--processes={processes}"]

    straight_run(command(tmp_path / "straight"), tmp_path / "output")
    expected = contents(corpus_folder(load(experiment_in(tmp_path / "straight"))))

    def check(folder):
        made = corpus_folder(load(experiment_in(folder)))
        assert contents(made) == expected
        assert [path for path in folder.iterdir() if path.suffix == ".partial"] == []

    lines = refused_then_done(disk, command, tmp_path / "output", check, levels=LEVELS, seed=processes)
    assert lines and all("the same command again, which continues from there" in line for line in lines)


def test_pretrain(disk, experiment, straight, tmp_path):
    def command(folder):
        return ["pretrain", "--config", str(experiment), "--workdir", str(folder)]

    check = functools.partial(assert_same_run, expected=straight)
    assert refused_then_done(disk, command, tmp_path / "output", check, levels=LEVELS)


def test_finetune_with_its_cache_of_features(disk, tmp_path, monkeypatch):
    """A cache that cannot be written costs nothing but time."""
    monkeypatch.setenv("BERT_JAX_DATA", str(disk.folder / "run" / ".data"))
    model = tmp_path / "model"
    save_tiny(model, labelled.WORDS, max_positions=32, num_layers=2)
    file = labelled.write(
        tmp_path,
        task__max_length=32,
        train__batch_size=16,
        train__steps=4,
        train__eval_every=2,
        checkpoint__every=2,
    )

    def command(folder):
        return ["finetune", "--config", str(file), "--init", str(model), "--workdir", str(folder)]

    straight_run(command(tmp_path / "straight"), tmp_path / "output")
    check = functools.partial(assert_same_run, expected=tmp_path / "straight")
    assert refused_then_done(disk, command, tmp_path / "output", check, levels=LEVELS)
