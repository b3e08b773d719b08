"""Runs the Python file that states an experiment or a sweep, and answers its mistakes in one line."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from bert_jax.errors import ConfigError, UsageError


def call(path: str, function: str, *, flag: str = "") -> Any:
    """What `function` of the file `path` returns; `path.py:argument` passes it an argument.

    Args:
      flag: what stands before the path on the command line, such as "--config=", for the messages.

    Raises:
      UsageError: no such file, or no such function in it.
      ConfigError: the function fails, as it does on an unknown field or argument.
    """
    file, _, argument = path.partition(":")
    if not Path(file).is_file():
        raise UsageError(f"{flag}{path}: no such file: {file}")
    try:
        namespace = runpy.run_path(file)
    except SyntaxError as error:
        raise UsageError(f"{flag}{path}: {error}") from error
    if function not in namespace:
        raise UsageError(f"{flag}{path}: the file must define {function}() and does not")
    try:
        return namespace[function](argument) if argument else namespace[function]()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # ml_collections answers a misspelt field with a whole page; its first line names the key.
        reason = str(error).strip("\"'").replace("\\n", "\n").partition("\n")[0] or type(error).__name__
        raise ConfigError([f"{file}: {function}() failed: {reason}"]) from error
