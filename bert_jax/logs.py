"""What the program logs and where: one handler on stderr, and how much the libraries may add.

Facts and warnings of bert_jax go to `logging.getLogger(__name__)`; results go to stdout.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Literal

Verbosity = Literal["quiet", "normal", "verbose"]


def configure(verbosity: Verbosity = "normal") -> None:
    """Sets up logging for a command, before it imports jax, tensorflow or orbax. Replaces an earlier set-up.

    quiet: errors only, and no progress bars.
    normal: facts and warnings of bert_jax, warnings of the libraries.
    verbose: also details of bert_jax, and what jax, absl (hence orbax) and TensorFlow report about themselves.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, _Handler):
            root.removeHandler(handler)
    root.addHandler(_Handler())
    root.setLevel({"quiet": logging.ERROR, "normal": logging.WARNING, "verbose": logging.INFO}[verbosity])
    logging.getLogger("bert_jax").setLevel(
        {"quiet": logging.ERROR, "normal": logging.INFO, "verbose": logging.DEBUG}[verbosity]
    )
    for name in ("absl", "asyncio"):
        # A checkpoint that cannot be written is our own error of one line. Orbax logs it too, with its traceback,
        # and asyncio logs its other tasks, which fail alike, as exceptions that were never retrieved.
        logging.getLogger(name).setLevel(logging.NOTSET if verbosity == "verbose" else logging.CRITICAL)
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # unused by the pipeline, and announced at import
    if verbosity != "verbose":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's C++ code writes to stderr by itself
        _silence_unfinished_writes()
    if verbosity == "quiet":
        warnings.simplefilter("ignore")


def _silence_unfinished_writes() -> None:
    """After a failed checkpoint, tensorstore's other writes find orbax's event loop closed, or never start.

    Python reports both after our own error: the first as an exception that it cannot raise, the second as a warning.
    """
    sys.unraisablehook = _ignore_closed_event_loop
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)


def _ignore_closed_event_loop(unraisable: sys.UnraisableHookArgs) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


class _Handler(logging.Handler):
    """Writes to the current sys.stderr, above the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:  # as every handler of the standard library: logging must not end the program
            self.handleError(record)

    def format(self, record: logging.LogRecord) -> str:
        """A fact of bert_jax as it is; a warning of it after the program's name; anything else with its origin."""
        text = super().format(record)
        if record.name.partition(".")[0] == "bert_jax" and record.levelno >= logging.INFO:
            level = record.levelname.lower()
            return text if record.levelno == logging.INFO else f"bert-jax: {level}: {text}"
        return f"{record.levelname.lower()} of {record.name}: {text}"
