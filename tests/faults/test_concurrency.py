"""Processes that use the same folders at once, on file systems with locks and without: they hold, or say so.

What locks and caches do by themselves stands in tests/test_locks.py, tests/data/test_step_files.py and
tests/data/instances/test_tables.py.
"""

from __future__ import annotations

import functools
import re
import time
from pathlib import Path

import numpy as np
import pytest

from bert_jax.__main__ import main
from bert_jax.config.loading import load
from bert_jax.data.corpus.open import corpus_folder, open_corpus
from bert_jax.data.corpus.prepare import prepare
from tests import labelled
from tests.commands.conftest import WORDS
from tests.faults import forked
from tests.faults.writers import contents
from tests.runs import assert_same_run
from tests.tiny_models import save_tiny

SAYS_SO = "its file system has no locks (No locks available): let no other machine use it at the same time"


@pytest.fixture(params=["locks", "no locks"])
def begin(request):
    """Starts a command on a file system with or without locks."""
    return functools.partial(forked.start, before=forked.no_locks if request.param == "no locks" else None)


@pytest.fixture
def has_locks(request) -> bool:
    return "no locks" not in request.node.name


def awaited(what: Path) -> None:
    end = time.monotonic() + 300
    while not what.exists():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def experiment_of(folder: Path, text: Path, like: Path) -> Path:
    """The experiment `like` over another text, prepared in `folder`."""
    file = folder / "experiment.py"
    lines = like.read_text().splitlines()
    values = {"data.path": str(text), "data.directory": str(folder / "prepared")}
    for number, line in enumerate(lines):
        for key, value in values.items():
            if line.strip().startswith(f"config.{key} ="):
                lines[number] = f"    config.{key} = {value!r}"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.slow
def test_of_two_runs_in_one_workdir_the_second_is_refused(begin, has_locks, experiment, straight, tmp_path):
    words = ["pretrain", "--config", str(experiment), "--workdir", str(tmp_path / "run")]
    first = begin(words, tmp_path / "first")
    awaited(tmp_path / "run" / "config.json")
    second = begin(words, tmp_path / "second")
    assert forked.ended(second, tmp_path / "second") == 1
    (line,) = (tmp_path / "second").read_text().splitlines()[-1:]
    refused = rf"^bert-jax: --workdir .* is in use by another process \(process {first.pid} on .*\)$"
    assert re.match(refused, line)
    assert forked.ended(first, tmp_path / "first") == 0
    assert (SAYS_SO in (tmp_path / "first").read_text()) == (not has_locks)
    assert_same_run(tmp_path / "run", straight)


@pytest.mark.slow
def test_of_two_preparations_the_second_is_refused_or_finds_it_done(begin, has_locks, experiment, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Document {n} is one of {n % 7}.\nIt ends." for n in range(3000)))
    alone = experiment_of(tmp_path, text, experiment)
    (tmp_path / "both").mkdir()
    both = experiment_of(tmp_path / "both", text, experiment)
    words = ["prepare", "--processes=1", "--config"]
    assert main([*words, str(alone)]) == 0
    outputs = [tmp_path / "first", tmp_path / "second"]
    running = [begin([*words, str(both)], output) for output in outputs]
    ends = [forked.ended(process, output) for process, output in zip(running, outputs, strict=True)]
    said = "".join(output.read_text() for output in outputs)
    assert ends in ([0, 0], [0, 1], [1, 0])
    assert ends == [0, 0] or "is in use by another process" in said
    assert (SAYS_SO in said) == (not has_locks)
    assert contents(corpus_folder(load(str(both)))) == contents(corpus_folder(load(str(alone))))
    assert list((tmp_path / "both" / "prepared").glob("*.partial")) == []


def reordered(text: Path) -> str:
    """Another text of as many tokens, sentences and documents."""
    words = dict(zip(WORDS, WORDS[1:] + WORDS[:1], strict=True))
    return re.sub(r"\w+", lambda found: words.get(found[0], found[0]), text.read_text())


def test_an_open_corpus_stays_though_another_takes_its_place(experiment, corpus, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(corpus.read_text())
    config = load(str(experiment_of(tmp_path, text, experiment)))
    prepare(config)
    held, reference = open_corpus(config), open_corpus(config)
    starts, lengths = held.sentence_starts[:-1], np.diff(held.sentence_starts)
    before = reference.gather(starts, lengths, 12)
    text.write_text(reordered(text))
    assert prepare(config)[1]
    np.testing.assert_array_equal(held.gather(starts, lengths, 12), before)
    changed = open_corpus(config)
    assert changed.digest != held.digest
    assert (
        changed.gather(changed.sentence_starts[:-1], np.diff(changed.sentence_starts), 12).tolist()
        != before.tolist()
    )


@pytest.mark.slow
def test_a_run_keeps_its_text_though_it_is_prepared_anew_meanwhile(
    experiment, corpus, straight, tmp_path, capsys
):
    text = tmp_path / "text.txt"
    text.write_text(corpus.read_text())
    file, folder = experiment_of(tmp_path, text, experiment), tmp_path / "run"
    assert main(["prepare", "--config", str(file), "--processes=1"]) == 0
    words = ["pretrain", "--config", str(file), "--workdir", str(folder)]
    running = forked.start(words, tmp_path / "output")
    awaited(folder / "config.json")  # nothing is trained yet
    text.write_text(reordered(text))
    assert main(["prepare", "--config", str(file), "--processes=1"]) == 0
    assert running.is_alive()
    assert forked.ended(running, tmp_path / "output") == 0, (tmp_path / "output").read_text()
    assert_same_run(folder, straight)
    capsys.readouterr()
    assert main(words) == 2  # it is bound to the text that it began with
    assert "its content changed" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_that_begin_at_once_share_the_shards_and_build_one_index(
    begin, has_locks, experiment, prepared, tmp_path
):
    """As the trials of two sweeps do."""
    text = Path(prepared.data.path)
    file = experiment_of(tmp_path, text, experiment)
    assert main(["prepare", "--config", str(file), "--processes=1"]) == 0
    outputs = [tmp_path / f"output{n}" for n in range(4)]
    running = [begin(["inspect", "--config", str(file)], output) for output in outputs]
    ends = [forked.ended(process, output) for process, output in zip(running, outputs, strict=True)]
    assert ends == [0] * 4, [output.read_text() for output in outputs]
    assert len({output.read_text() for output in outputs}) == 1
    index = corpus_folder(load(str(file))) / "index"
    assert len([path for path in index.iterdir() if path.is_dir()]) == 1
    assert list(index.glob(".*.partial")) == []


@pytest.mark.slow
def test_fine_tunings_that_begin_at_once_share_their_features(begin, tmp_path, monkeypatch):
    monkeypatch.setenv("BERT_JAX_DATA", str(tmp_path / "data"))
    save_tiny(tmp_path / "model", labelled.WORDS, max_positions=32, num_layers=1)
    file = labelled.write(tmp_path, task__max_length=32, train__batch_size=16, train__steps=2)
    folders = [tmp_path / f"run{n}" for n in range(2)]
    words = ["finetune", "--config", str(file), "--init", str(tmp_path / "model"), "--workdir"]
    running = [begin([*words, str(folder)], folder.with_suffix(".txt")) for folder in folders]
    for process, folder in zip(running, folders, strict=True):
        output = folder.with_suffix(".txt")
        assert forked.ended(process, output) == 0, output.read_text()
    assert_same_run(folders[1], folders[0])
    assert len(list((tmp_path / "data" / "features").iterdir())) == 1


def test_of_two_sweeps_in_one_folder_the_second_is_refused(experiment, tmp_path, capsys):
    from bert_jax import locks

    file = tmp_path / "sweep.py"
    file.write_text(
        f"""
from bert_jax.sweeps import Sweep, Variant
def get_sweep():
    return Sweep(question="Q?", base={str(experiment)!r}, seeds=(0,), tokens=3072, probes=("mlm",), measures=("mlm.loss",),
                 variants=tuple(Variant(name=f"r{{r}}", values={{"masking.rate": r}}) for r in (0.1, 0.2)))
"""
    )
    (tmp_path / "S").mkdir()
    with locks.held(tmp_path / "S" / ".lock", "the test"):
        assert main(["sweep", str(file), "--workdir", str(tmp_path / "S")]) == 1
    assert "is in use by another process" in capsys.readouterr().err
