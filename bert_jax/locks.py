"""Locks between processes: files locked with flock(2), so on Linux and macOS alone.

The system frees such a lock when its process ends, however it ends. Some network file systems have no locks: there what
the file says of its holder is believed, if that process is of this machine.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from bert_jax import atomic, json_file
from bert_jax.errors import UserError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file `path`, which protects `what` ("--workdir runs/x"); removed afterwards.

    While it is held, the file says by whom: {"process": number, "host": name}.

    Raises:
      UserError: another process holds it; names `what` and that process.
      OSError: the file cannot be written.
    """
    while True:
        stream = path.open("a+")
        try:
            _lock(stream, what)
        except BaseException:
            stream.close()
            raise
        if _is_at(stream.fileno(), path):
            break
        stream.close()  # its last holder removed it meanwhile
    try:
        with atomic.naming(path):
            stream.truncate(0)
            owner = json.dumps({"process": os.getpid(), "host": os.uname().nodename})
            os.write(
                stream.fileno(), owner.encode()
            )  # what is refused here must not be tried again at the end
        yield
    finally:
        path.unlink(missing_ok=True)
        stream.close()


def _lock(stream: TextIO, what: str) -> None:
    """Locks an open file, or raises `UserError` where another process holds it."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        is_taken = True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        is_taken = False
        reason = error.strerror
    stream.seek(0)
    owner = _owner(stream.read())
    if is_taken or (owner and _is_alive_here(owner)):
        who = f" (process {owner.process} on {owner.host})" if owner else ""
        raise UserError(f"{what} is in use by another process{who}")
    _log.warning(
        "%s: its file system has no locks (%s): let no other machine use it at the same time", what, reason
    )


@contextlib.contextmanager
def awaited(path: Path) -> Iterator[bool]:
    """Waits for the lock file `path` and holds it; the file stays.

    Yields False, without a lock, where the file system has none: then several processes may enter.
    """
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True


def is_held(path: Path) -> bool:
    """Whether a process of this machine holds the lock file `path` (of `held`).

    Looks first at what its holder wrote, so that asking does not hinder one that is taking it.
    """
    try:
        with path.open("r") as stream:
            text = stream.read()
            if not text:
                return True  # being taken
            owner = _owner(text)
            if owner and not _is_alive_here(owner):
                return False
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)  # the number may be another process's by now
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return owner is not None
    return False


class _Owner(NamedTuple):
    process: int
    host: str


def _owner(text: str) -> _Owner | None:
    """What a holder wrote; None if it is incomplete, or of an older version."""
    try:
        owner = json_file.parse(text)
        return _Owner(int(owner["process"]), str(owner["host"]))
    except (ValueError, TypeError, KeyError):
        return None


def _is_alive_here(owner: _Owner) -> bool:
    """Whether it is a process of this machine, and runs."""
    return owner.host == os.uname().nodename and _exists(owner.process)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # none has, or can have, that number
        return False
    except PermissionError:  # another user's
        return True
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one that `path` names."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
