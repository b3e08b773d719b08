"""Checksums of a folder find what is not as it was written, and nothing else."""

import os
import subprocess

import pytest

from bert_jax import checksums


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "run"
    (place / "deep").mkdir(parents=True)
    (place / "a").write_bytes(b"first")
    (place / "deep/b").write_bytes(b"second")
    (place / "late").write_bytes(b"third")
    checksums.write(place, without=("late",))
    return place


def test_a_folder_as_it_was_written_is_whole(folder):
    (folder / "late").write_bytes(b"it may change")
    (folder / "new").write_bytes(b"and others may come")
    assert checksums.fault(folder) is None


def test_the_way_to_the_folder_is_no_part_of_its_names(folder, monkeypatch):
    monkeypatch.chdir(folder / "deep")
    assert checksums.fault(folder / "deep" / "..") is None
    assert checksums.fault(folder.joinpath(os.pardir, "run")) is None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "a").write_bytes(b"firsT"), "a is not what was written: its checksum differs"),
        (lambda folder: (folder / "deep/b").unlink(), "deep/b is missing"),
        (lambda folder: (folder / checksums.SUMS_FILE).write_text(""), "SHA256SUMS is damaged"),
        (lambda folder: (folder / checksums.SUMS_FILE).write_text("abc"), "SHA256SUMS is damaged"),
        (lambda folder: (folder / checksums.SUMS_FILE).write_text("0  ../../etc"), "SHA256SUMS is damaged"),
        (lambda folder: (folder / checksums.SUMS_FILE).write_text("0  /etc/passwd"), "SHA256SUMS is damaged"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_said(folder, damage, said):
    damage(folder)
    assert checksums.fault(folder) == said


def test_only_what_is_asked_for_is_compared(folder):
    (folder / "a").write_bytes(b"other")
    assert checksums.fault(folder, below=("deep/",)) is None
    assert checksums.fault(folder, below=("deep/", "a")) is not None


def test_a_folder_without_checksums_is_not_judged(tmp_path):
    (tmp_path / "a").write_bytes(b"first")
    assert checksums.fault(tmp_path) is None


def test_sha256sum_agrees(folder):
    command = ["sha256sum", "--check", "--quiet", checksums.SUMS_FILE]
    assert subprocess.run(command, cwd=folder, check=False).returncode == 0
    (folder / "a").write_bytes(b"other")
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "a: FAILED\n")
