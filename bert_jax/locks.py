"""One process at a time, by a lock that dies with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from bert_jax.errors import UserError


@contextlib.contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file `path`, which stands for `what` ("--workdir runs/x"); gone afterwards.

    Raises:
      UserError: another process holds it; names `what` and that process.
    """
    while True:
        stream = path.open("a+")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            owner = stream.read().strip()
            stream.close()
            raise UserError(f"{what} is in use by another process{f' ({owner})' if owner else ''}") from None
        if _is_at(stream.fileno(), path):
            break
        stream.close()  # its last holder removed it while we waited
    try:
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {os.uname().nodename}")
        stream.flush()
        yield
    finally:
        path.unlink(missing_ok=True)
        stream.close()


def is_held(path: Path) -> bool:
    """Whether a process of this machine holds the lock file `path`.

    Looks first at what its holder wrote, so that asking never stands in the way of one that is taking it.
    """
    try:
        with path.open("r") as stream:
            owner = stream.read().split()  # "process 12 on host"
            if len(owner) != 4:
                return True  # being taken
            if owner[3] != os.uname().nodename or not Path(f"/proc/{owner[1]}").exists():
                return False
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)  # its number may be another process's by now
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one that `path` names."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
