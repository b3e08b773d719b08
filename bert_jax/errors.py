"""The failures a user can mend, each one line: the rule, the values, the place."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(Exception):
    """Something outside the program is wrong (data, files, disk). Exit status 1."""

    exit_status = 1


class UsageError(UserError):
    """The command line is wrong. Exit status 2."""

    exit_status = 2


class ConfigError(UsageError):
    """The configuration breaks rules; carries every fault, not only the first. Exit status 2."""

    def __init__(self, faults: Sequence[str]):
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class Interrupted(UserError):
    """A signal stopped the run after it saved. Exit status 128 + the signal, as shells have it."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_status = 128 + signal_number


class CheckpointMismatch(UserError):
    """A checkpoint holds other leaves, or leaves of other shapes, than the run asks for. Exit status 1."""
