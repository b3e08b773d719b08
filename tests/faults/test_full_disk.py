"""A disk that is full, wherever that is met: one line that says what could not be written and where, nothing half-written
that is taken for whole, and where there is room again the same call ends as if nothing had been.

BERT_JAX_FILLS=40 fills the disk to forty levels for each kind of file, and each command.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_jax import errors
from bert_jax.sweeps import local, store, trials
from tests.faults.disk import Disk
from tests.faults.writers import WRITERS, Writer, report_of
from tests.sweeps.plans import make_plan

FILLS = int(os.environ.get("BERT_JAX_FILLS", "6"))
"""Levels to which the disk is filled for each kind of file."""


_SLOW = ("checkpoints", "curves", "page of a fine-tuned run", "stablehlo", "savedmodel", "report")


@pytest.fixture(
    params=[
        *(name for name in WRITERS if name not in _SLOW),
        *(pytest.param(name, marks=pytest.mark.slow) for name in _SLOW),
    ]
)
def writer(request, tmp_path_factory) -> Writer:
    if request.param == "report":
        return report_of(tmp_path_factory.mktemp("finished"))
    if request.param == "savedmodel":
        pytest.importorskip("tensorflow")
    return WRITERS[request.param]


def assert_none_is_half(place: Path, whole: Any, writer: Writer) -> None:
    """What a reader finds is some of the `whole`; a file that grows may lack its end."""
    left = writer.read(place)
    if not isinstance(left, dict):
        assert left <= whole
        return
    for name, content in left.items():
        may_be_cut = any(Path(str(name)).match(pattern) for pattern in writer.grows)
        assert content == (whole[name][: len(content)] if may_be_cut else whole[name]), (
            f"{name} is half-written"
        )


# The threads in which orbax writes parts of a checkpoint fail beside that whose error is ours, and find its loop closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_each_kind_of_file(writer, disk, tmp_path, request):
    straight, place = tmp_path / "straight", disk.folder / "place"
    straight.mkdir()
    writer.write(straight)
    whole = writer.read(straight)
    emptied(disk, place)
    before = disk.free
    writer.write(place)
    needed = before - disk.free
    refused = 0
    levels = max(2, FILLS // 3) if request.node.get_closest_marker("slow") else FILLS
    for pages in sorted({round(part) for part in np.linspace(0, needed - 1, levels)}):
        emptied(disk, place)
        disk.leave(pages)
        try:
            writer.write(place)
        except Exception as error:
            refused += 1
            line = errors.summary(error)
            assert (
                line and "\n" not in line and "No space left on device" in line and str(disk.folder) in line
            )
        assert_none_is_half(place, whole, writer)
        disk.free_all()
        writer.write(place)
        assert writer.read(place) == whole
    assert refused


def emptied(disk: Disk, place: Path) -> None:
    disk.free_all()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()


def test_a_sweep_says_so_where_the_end_of_a_trial_cannot_be_recorded(disk, monkeypatch, capsys):
    folder, plan = disk.folder / "place", make_plan(seeds=(0,))
    emptied(disk, folder)
    store.claim(folder, plan)
    monkeypatch.setattr(local, "command", lambda *_: [sys.executable, "-c", "raise SystemExit('no room')"])
    disk.leave(0)
    local.run(folder, plan.trials[:1], slots=(local.Slot({}),), attempts=1, stall=60.0)
    said = capsys.readouterr().err
    refused = f"its end cannot be recorded: No space left on device: {folder / 'attempts/a-seed0.jsonl'}"
    assert said.count(refused) == 1
    disk.free_all()
    assert trials.trial_state(folder, plan.trials[0]).status == "waiting"


def test_a_line_that_was_cut_costs_no_other(disk):
    """The next record does not continue it."""
    folder, plan = disk.folder / "place", make_plan(seeds=(0,))
    emptied(disk, folder)
    store.claim(folder, plan)
    (folder / "attempts/a-seed0.jsonl").write_text('{"began": 1.0, "host": "a"}\n{"ended": 2.0, "sta')
    with trials.attempt(folder, plan.trials[0]):
        pass
    notes = trials.read_attempts(folder, plan.trials[0])
    assert ["began" in note for note in notes] == [True, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("full", [("stdout",), ("stdout", "stderr")])
def test_output_that_cannot_be_printed(full, tmp_path):
    """What was printed is refused as the buffer is written, at the very end."""
    WRITERS["metrics"].write(tmp_path)
    with open("/dev/full", "w") as nowhere:
        streams = {name: nowhere if name in full else subprocess.PIPE for name in ("stdout", "stderr")}
        done = subprocess.run(
            [sys.executable, "-m", "bert_jax", "plot", "--workdir", str(tmp_path)], **streams, check=False
        )
    assert done.returncode == 1
    assert done.stderr in (None, b"bert-jax: No space left on device\n")
