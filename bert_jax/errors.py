"""The errors that a user can correct, each a message of one line, and how any error ends the program."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Sequence


class UserError(Exception):
    """Something outside the program is wrong: data, files, the disk. Exit status 1.

    The message is one line that a terminal only shows, whatever a file put into it: see `one_line`.
    """

    exit_status = 1

    def __init__(self, message: object = ""):
        super().__init__(one_line(str(message)))


class UsageError(UserError):
    """The command line is wrong. Exit status 2."""

    exit_status = 2


class ConfigError(UsageError):
    """The configuration breaks rules. Lists every fault, one per line. Exit status 2."""

    def __init__(self, faults: Sequence[str]):
        self.faults = tuple(map(one_line, faults))
        Exception.__init__(self, "\n".join(self.faults))  # the one message of several lines


class CheckpointMismatch(UserError):
    """The arrays of a checkpoint differ in name, shape or type from those of the run. Exit status 1."""


class Interrupted(UserError):
    """A signal stopped the run after it saved a checkpoint. Exit status 128 + the signal's number, as in shells."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_status = 128 + signal_number


def one_line(text: str) -> str:
    """`text` with characters that are not printable as Python writes them; of a long one the middle is left out.

    So a name in a damaged or hostile file can neither move the cursor nor look like a line of ours.
    """
    text = _cut(text)
    if text.isprintable():
        return text
    return _cut("".join(each if each.isprintable() else repr(each)[1:-1] for each in text))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 3 :]}"


def is_panic(error: BaseException) -> bool:
    """Whether a library in Rust, such as `tokenizers`, met what it does not expect; the type is no Exception."""
    return type(error).__name__ == "PanicException"


def exit_status(error: BaseException) -> int:
    """The status with which a program ends that `error` stops."""
    if isinstance(error, UserError):
        return error.exit_status
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def summary(error: BaseException) -> str | None:
    """The message that replaces the traceback of `error`; None if the traceback is to be shown.

    UserError, KeyboardInterrupt, OSError and a panic have one. The message of an OSError that is not the state of a disk
    names its type and place, because it is probably a bug.
    """
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if is_panic(error):
        return one_line(f"a file or a text broke a library ({error}); run again with -v for the traceback")
    if not isinstance(error, OSError):
        return None
    text = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        text = f"{text}: {error.filename}"
    text = one_line(text)
    if error.errno in _DISK_FAULTS or (error.errno in _PATH_FAULTS and error.filename is not None):
        return text
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}: {text}; run again with -v for the traceback"


def refusal(error: BaseException) -> str:
    """Why something could not be read or written: libraries in C++ say what the system said inside texts of their own."""
    text = str(error)
    said = getattr(error, "strerror", None) or next((known for known in _REFUSALS if known in text), None)
    return said or text.strip().split("\n")[0]


_REFUSALS = ("No space left on device", "Read-only file system", "Permission denied", "File too large")
_LONGEST = 2000  # characters of a message
# What a disk, or whatever reads our output, refuses; numpy and tensorstore do not always name the file.
_DISK_FAULTS = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE, errno.EPIPE)
)
# What is wrong with a path that the user named. Without a file name the message would not help.
_PATH_FAULTS = frozenset(
    (
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENOTEMPTY,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    )
)
