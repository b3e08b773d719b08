"""Runs the Python file that defines an experiment or a sweep, and reports its errors in one line."""

from __future__ import annotations

import contextlib
import runpy
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_jax.errors import ConfigError, UsageError, UserError


def call(path: str, function: str, *, flag: str = "") -> Any:
    """What `function` of the file `path` returns; `path.py:argument` passes it an argument.

    Args:
      flag: what precedes the path on the command line, such as "--config=", for the messages.

    Raises:
      UsageError: no such file, or no such function in it.
      ConfigError: the file or the function raises: an unknown field, a wrong argument, a syntax error.
    """
    file, _, argument = path.partition(":")
    if not Path(file).is_file():
        raise UsageError(f"{flag}{path}: no such file: {file}")
    with _errors_located(file, line=1):
        namespace = runpy.run_path(file)
    called = namespace.get(function)
    if not callable(called):
        raise UsageError(f"{flag}{path}: the file must define {function}() and does not")
    code = getattr(called, "__code__", None)
    with _errors_located(file, line=code.co_firstlineno if code else 1):
        return called(argument) if argument else called()


def beside(path: str, file: str) -> str:
    """FILE[:ARGUMENT], relative to the file of `path` (which may have an argument, too)."""
    name, _, argument = file.partition(":")
    return str(Path(path.partition(":")[0]).parent / name) + (f":{argument}" if argument else "")


@contextlib.contextmanager
def _errors_located(file: str, *, line: int) -> Iterator[None]:
    """Turns an exception into one line: file, line, type and message. `line` is where none of `file` has run."""
    try:
        yield
    except UserError:
        raise  # of bert_jax itself: it names what is wrong
    except Exception as error:  # the file is the user's, so it may raise anything
        if isinstance(error, SyntaxError) and error.filename == file:
            line, message = error.lineno or line, error.msg
        else:
            lines = [
                frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file
            ]
            line, message = (lines[-1] or line) if lines else line, _first_line(error)
        name = type(error).__name__
        raise ConfigError(
            [f"{file}:{line}: {name}: {message}" if message else f"{file}:{line}: {name}"]
        ) from error


def _first_line(error: BaseException) -> str:
    """The first line of the message of `error`.

    ml_collections answers an unknown field with AttributeError(KeyError(several lines)). The first names the field;
    str() would show the quoted form that KeyError gives to its message.
    """
    argument = error.args[0] if len(error.args) == 1 else None
    if isinstance(argument, BaseException):
        return _first_line(argument)
    text = argument if isinstance(error, KeyError) and isinstance(argument, str) else str(error)
    return text.strip().partition("\n")[0]
