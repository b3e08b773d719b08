"""Reading a damaged folder: what may come of it, and what may not."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_jax import errors
from bert_jax.errors import ConfigError, UserError
from tests.hostile.format import Format

SECONDS = 20
"""Longest reading of a small file, on a busy machine."""
_LONGEST = 3000  # characters of a message


class Hangs(BaseException):
    """A reading that takes too long."""


@contextlib.contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    def stop(signal_number: int, frame: Any) -> None:
        raise Hangs(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Folder:
    """A valid folder of a format, of which one file at a time is damaged."""

    def __init__(self, form: Format, folder: Path):
        self.form, self._whole, self._damaged = form, folder / "whole", folder / "damaged"
        self._whole.mkdir(parents=True)
        form.write(self._whole)
        self.files: dict[str, bytes] = {}
        self._pattern: dict[str, str] = {}
        for pattern in form.files:
            [path] = self._whole.glob(pattern)
            name = str(path.relative_to(self._whole))
            self.files[name], self._pattern[name] = path.read_bytes(), pattern
        self.value = self._read()

    def _read(self) -> Any:
        shutil.rmtree(self._damaged, ignore_errors=True)
        shutil.copytree(self._whole, self._damaged)
        with limited():
            return self.form.read(self._damaged)

    def fault(self, name: str, content: bytes | None, *, mode: int = 0o644) -> str:
        """What is wrong with the reading of a folder whose file `name` holds `content` (None: is a folder); "": nothing."""
        shutil.rmtree(self._damaged, ignore_errors=True)
        shutil.copytree(self._whole, self._damaged)
        path = self._damaged / name
        path.unlink()
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
            path.chmod(mode)
        try:
            with limited():
                value = self.form.read(self._damaged)
        except ConfigError as error:
            return _fault_of(error.faults, self._damaged)
        except UserError as error:
            return _fault_of((str(error),), self._damaged)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of a Rust library is no Exception
            line = errors.summary(error)  # of a path that is a folder, which needs no traceback
            if line is not None and "run again with -v" not in line:
                return _fault_of((line,), self._damaged)
            return f"{type(error).__name__}: {str(error)[:200]}"
        is_checked = self.form.checked and self._pattern[name] not in self.form.unchecked
        if is_checked and value != self.value:
            return "read as another value"
        return ""


def _fault_of(lines: tuple[str, ...], folder: Path) -> str:
    for line in lines:
        if any(not character.isprintable() for character in line):
            return f"a message of several lines, or with control characters: {line[:300]!r}"
        if len(line) > _LONGEST:
            return f"a message of {len(line)} characters: {line[:300]!r}"
    if not any(str(folder) in line for line in lines):
        return f"a message without the file: {lines[0][:300]!r}"
    return ""
