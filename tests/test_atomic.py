"""What is written aside appears whole or not at all, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from bert_jax import atomic
from bert_jax.errors import UserError


def listed(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_and_bytes_replace_what_was_there(tmp_path):
    file = tmp_path / "file"
    for text in ("one\n", "deux é\r\n"):
        atomic.write_text(file, text)
        assert file.read_bytes() == text.encode()
    atomic.write_bytes(file, b"\0\xff")
    assert file.read_bytes() == b"\0\xff"
    assert listed(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, OSError])
def test_a_stream_that_fails_leaves_the_older_file(tmp_path, error):
    file = tmp_path / "file"
    file.write_text("older")

    def fail():
        with atomic.binary_stream(file) as stream:
            stream.write(b"half")
            stream.flush()
            assert file.read_text() == "older"
            assert len(listed(tmp_path)) == 2
            raise error

    with pytest.raises(error):
        fail()
    assert file.read_text() == "older"
    assert listed(tmp_path) == ["file"]


def test_a_killed_process_leaves_the_older_file(tmp_path):
    file = tmp_path / "file"
    file.write_text("older")
    program = (
        "import os, pathlib, sys; from bert_jax import atomic\n"
        "with atomic.binary_stream(pathlib.Path(sys.argv[1])) as stream:\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), 9)"
    )
    child = subprocess.run([sys.executable, "-c", program, str(file)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert file.read_text() == "older"
    (left,) = [name for name in listed(tmp_path) if name != "file"]
    assert left.startswith(".file.") and left.endswith(".partial")


def test_a_folder_appears_with_all_its_files_and_its_own_permissions(tmp_path):
    path = tmp_path / "parent" / "new"
    with atomic.folder(path) as partial:
        (partial / "inner").mkdir()
        file = partial / "inner" / "file"
        file.write_text("content")
        file.chmod(0o600)
        assert not path.exists()
    assert (path / "inner" / "file").read_text() == "content"
    mode = stat.S_IMODE((path / "inner" / "file").stat().st_mode)
    assert mode == stat.S_IMODE(path.stat().st_mode) & 0o666
    assert listed(tmp_path / "parent") == ["new"]


def test_a_folder_takes_the_place_of_an_empty_one_only(tmp_path):
    (tmp_path / "new").mkdir()
    with atomic.folder(tmp_path / "new") as new:
        (new / "file").write_text("first")
    with pytest.raises(OSError, match="not empty"), atomic.folder(tmp_path / "new") as new:
        (new / "file").write_text("second")
    assert (tmp_path / "new" / "file").read_text() == "first"
    assert listed(tmp_path) == ["new"]


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(tmp_path):
    left = tmp_path / f".new.{os.uname().nodename}-{os.getpid()}.partial"
    left.mkdir()
    (left / "old").write_text("half")
    with atomic.folder(tmp_path / "new") as new:
        (new / "file").write_text("")
    assert listed(tmp_path) == ["new"]
    assert listed(tmp_path / "new") == ["file"]


class Library(Exception):
    """What a library raises where it cannot write."""


def test_an_export_says_why_it_cannot_be_written(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "old").write_text("")
    for path, rule in (
        (tmp_path / "full", "full: is not empty"),
        (tmp_path / "full" / "old", "old: is a file"),
    ):
        with pytest.raises(UserError, match=rule), atomic.export_folder(path):
            pytest.fail("entered")
    new = tmp_path / "new"
    for error, reason in (
        (OSError(28, "No space left"), "No space left"),
        (Library("out of it"), "out of it"),
    ):
        with (
            pytest.raises(UserError, match=rf"new: cannot be written \({reason}\)"),
            atomic.export_folder(new, faults=(Library,)),
        ):
            raise error
    with pytest.raises(Library), atomic.export_folder(new):
        raise Library
    assert listed(tmp_path) == ["full"]
