"""Commands as processes of their own that begin at once: forks of a server that has imported the package."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["bert_jax.api", "bert_jax.tasks.choose", "bert_jax.commands.prepare"])
_LIMIT = 600  # seconds, for one command


def start(
    arguments: Sequence[str], output: Path, *, before: Callable[[], object] | None = None
) -> multiprocessing.process.BaseProcess:
    """`bert-jax ARGUMENTS` as a process group of its own, with the environment of now; what it prints is appended to
    `output`.

    before: called in the process first; a function of a module.
    """
    process = _FORKS.Process(target=_main, args=(arguments, output, dict(os.environ), before))
    process.start()
    return process


def no_locks() -> None:
    """For `start`: flock(2) fails, as on file systems without locks."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    fcntl.flock = refuse  # type: ignore[assignment]


def call(arguments: Sequence[str], output: Path) -> int:
    """The exit status of `bert-jax ARGUMENTS`, as `start` starts it."""
    return ended(start(arguments, output), output)


def ended(process: multiprocessing.process.BaseProcess, output: Path) -> int:
    """Waits for a process and returns its exit status."""
    process.join(_LIMIT)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"it did not end: {output.read_text()[-2000:]}")
    assert process.exitcode is not None
    return process.exitcode


def _main(
    arguments: Sequence[str], output: Path, environment: dict[str, str], before: Callable[[], object] | None
) -> None:
    from bert_jax.__main__ import main

    os.environ.clear()  # the server of forks has the environment of its start
    os.environ.update(environment)
    os.setpgid(0, 0)  # so that a kill takes its children too
    with output.open("a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    if before is not None:
        before()
    sys.exit(main(list(arguments)))
