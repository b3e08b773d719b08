"""Kills a command again and again, at moments that its own writing chooses, until it has come to its end."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults import forked

KILLS = int(os.environ.get("BERT_JAX_KILLS", "5"))
"""Kills of each command; the environment may ask for more."""
_LIMIT = 600  # seconds, for one attempt


def _states(folder: Path) -> frozenset[tuple[str, int]]:
    """Names and sizes of what is in a folder at this moment."""
    found = set()
    for directory, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(directory, name)
            try:
                found.add((path, os.stat(path).st_size))
            except OSError:
                found.add((path, -1))
    return frozenset(found)


def attempt(arguments: Sequence[str], watched: Path, output: Path, *, kill_after: float) -> tuple[int, int]:
    """Runs a command until `watched` has changed `kill_after` times: (exit status, changes seen)."""
    process = forked.start(arguments, output)
    seen, changes, end = _states(watched), 0, time.monotonic() + _LIMIT
    while process.is_alive():
        now = _states(watched)
        changes, seen = changes + (now != seen), now
        if changes > kill_after:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:  # before it has a group
                process.kill()
        assert time.monotonic() < end, f"{arguments} did not end: {output.read_text()[-2000:]}"
        time.sleep(0.0005)
    process.join()
    return process.exitcode, changes


def killed_until_done(
    command: Callable[[Path], Sequence[str]],
    where: Path,
    check: Callable[[Path], None],
    *,
    kills: int = KILLS,
    seed: int = 0,
    unfinished: str = "",
) -> int:
    """Runs `command(folder)` in folder after folder, killed at random changes of it and started again, until it was killed
    `kills` times; `check(folder)` each that came to its end. Returns the kills.

    unfinished: what a command that ends with status 1 has said where it is only to be given again.
    """
    rng, done, last = random.Random(seed), 0, 50
    where.mkdir(exist_ok=True)
    for n in range(kills):
        folder = where / str(n)
        output = where / f"{n}.txt"
        while True:
            wanted = rng.uniform(0, last) if done < kills else float("inf")
            status, changes = attempt(command(folder), folder, output, kill_after=wanted)
            if status == 0:
                break
            if status == 1 and unfinished and unfinished in output.read_text()[-1000:]:
                time.sleep(1)
                continue
            assert status == -signal.SIGKILL, (status, output.read_text()[-2000:])
            done += 1
            last = max(2, last if changes < last else changes)
        last = min(last, max(changes, 2))  # where there is less to write, the moments lie closer
        check(folder)
        if done >= kills:
            return done
    return done
