"""A disk that is full, wherever that is met: one line that says what could not be written and where, nothing half-written
that is taken for whole, and where there is room again the same call ends as if nothing had been.

BERT_JAX_FILLS=40 fills the disk to forty levels for each kind of file, and each command.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_jax import errors
from tests.faults.disk import Disk, mounted
from tests.faults.writers import WRITERS, Writer, report_of

FILLS = int(os.environ.get("BERT_JAX_FILLS", "6"))
"""Levels to which the disk is filled for each kind of file."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    with mounted(tmp_path_factory.mktemp("full") / "disk") as made:
        yield made


@pytest.fixture(params=[*WRITERS, "report"])
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
def test_each_kind_of_file(writer, disk, tmp_path):
    straight, place = tmp_path / "straight", disk.folder / "place"
    straight.mkdir()
    writer.write(straight)
    whole = writer.read(straight)
    emptied(disk, place)
    before = disk.free
    writer.write(place)
    needed = before - disk.free
    refused = 0
    for pages in sorted({round(part) for part in np.linspace(0, needed - 1, FILLS)}):
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
