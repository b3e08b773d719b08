"""A lock is one process's, and is free when its process ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading

import pytest

from bert_jax.errors import UserError
from bert_jax.locks import awaited, held, is_held


def test_a_held_lock_is_refused_with_its_holder(tmp_path):
    path = tmp_path / "lock"
    with held(path, "the folder"):
        assert json.loads(path.read_text()) == {"process": os.getpid(), "host": os.uname().nodename}
        with (
            pytest.raises(
                UserError, match=rf"^the folder is in use by another process \(process {os.getpid()} on "
            ),
            held(path, "the folder"),
        ):
            pass
    assert not path.exists()
    with held(path, "the folder"):
        assert path.exists()


def test_a_holder_of_an_older_version_is_refused_without_its_name(tmp_path):
    path = tmp_path / "lock"
    path.write_text("process 12 on elsewhere")
    with path.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"^it is in use by another process$"), held(path, "it"):
            pass
        assert is_held(path)
    assert not is_held(path)


def test_a_killed_holder_is_no_obstacle(tmp_path):
    path = tmp_path / "lock"
    program = (
        "import os, pathlib, sys; from bert_jax.locks import held\n"
        "with held(pathlib.Path(sys.argv[1]), 'x'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert path.exists()
    assert not is_held(path)
    with held(path, "the folder"):
        assert str(os.getpid()) in path.read_text()
        assert is_held(path)
    assert not path.exists()


def test_a_lock_of_another_machine_or_a_dead_process_is_not_held_here(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    monkeypatch.setattr("fcntl.flock", lambda *_: pytest.fail("another may be taking it now"))
    for process, host in ((child.pid, os.uname().nodename), (os.getpid(), "elsewhere")):
        path.write_text(json.dumps({"process": process, "host": host}))
        assert not is_held(path)
    path.write_text("")  # between taking it and writing who did
    assert is_held(path)


def test_an_awaited_lock_is_entered_by_one_after_another(tmp_path):
    path, inside, entered = tmp_path / "lock", [], []

    def enter() -> None:
        with awaited(path) as alone:
            assert alone
            inside.append(1)
            entered.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    with awaited(path):
        for thread in threads:
            thread.start()
        assert entered == []
    for thread in threads:
        thread.join()
    assert entered == [1] * 8


def test_without_locks_several_may_enter_an_awaited_one(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with awaited(tmp_path / "lock") as first, awaited(tmp_path / "lock") as second:
        assert (first, second) == (False, False)


@pytest.fixture
def no_locks(monkeypatch):
    def flock(stream, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_without_locks_it_is_said_and_a_live_holder_of_this_machine_is_refused(tmp_path, no_locks, caplog):
    path = tmp_path / "lock"
    with held(path, "the folder"):
        assert caplog.messages == [
            "the folder: its file system has no locks (No locks available): let no other machine use it at the same time"
        ]
        assert is_held(path)
        with (
            pytest.raises(
                UserError, match=r"^the folder is in use by another process \(process \d+ on .*\)$"
            ),
            held(path, "the folder"),
        ):
            pass
    assert not path.exists()


def test_without_locks_what_a_killed_holder_left_is_no_obstacle(tmp_path, no_locks):
    path = tmp_path / "lock"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for owner in ({"process": ended.pid, "host": os.uname().nodename}, {"process": 1, "host": "elsewhere"}):
        path.write_text(json.dumps(owner))
        assert not is_held(path)
        with held(path, "the folder"):
            assert is_held(path)


def test_another_error_of_the_file_system_is_no_lack_of_locks(tmp_path, monkeypatch):
    def flock(stream, operation):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"), held(tmp_path / "lock", "the folder"):
        pass
