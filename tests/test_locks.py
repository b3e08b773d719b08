"""A lock is one process's, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bert_jax.errors import UserError
from bert_jax.locks import held


def test_a_held_lock_is_refused_with_its_holder(tmp_path):
    path = tmp_path / "lock"
    with (
        held(path, "the folder"),
        pytest.raises(
            UserError, match=rf"^the folder is in use by another process \(process {os.getpid()} on "
        ),
        held(path, "the folder"),
    ):
        pass
    assert not path.exists()
    with held(path, "the folder"):
        assert path.exists()


def test_a_killed_holder_is_no_obstacle(tmp_path):
    path = tmp_path / "lock"
    program = (
        "import os, pathlib, sys; from bert_jax.locks import held\n"
        "with held(pathlib.Path(sys.argv[1]), 'x'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert path.exists()
    with held(path, "the folder"):
        assert str(os.getpid()) in path.read_text()
    assert not path.exists()
