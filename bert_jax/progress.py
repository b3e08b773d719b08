"""Progress bars for everything that takes more than a few seconds."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from tqdm import tqdm


def bar(
    iterable: Any = None, *, description: str, total: float | None = None, unit: str = "it", **options: Any
) -> Any:
    """A tqdm bar on stderr: live on a terminal, one line every 15 seconds in a log file, off with --quiet.

    `options` are tqdm's.
    """
    common = settings()
    return _Bar(
        iterable,
        desc=description,
        total=total,
        unit=unit,
        unit_scale=options.pop("unit_scale", unit in ("B", "tokens")),
        **common | {"disable": options.pop("disable", False) or common["disable"]},
        **options,
    )


class _Bar(tqdm):
    """Times by a clock that only goes forward: tqdm's own is that of the day, and a bar stops where that is set back."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._time = time.monotonic
        self.start_t = self.last_print_t = time.monotonic()


def settings() -> dict[str, Any]:
    """tqdm's options of every bar: where it is written and how often."""
    to_terminal = sys.stderr.isatty()
    return {
        "dynamic_ncols": to_terminal,
        "mininterval": 0.2 if to_terminal else 15.0,
        "disable": logging.getLogger("bert_jax").getEffectiveLevel() >= logging.ERROR,
        "file": sys.stderr,
    }
