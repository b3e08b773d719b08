"""Progress bars for everything that takes more than a few seconds."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def bar(iterable=None, *, description: str, total: float | None = None, unit: str = "it", **options: Any):
    """A tqdm bar on stderr: live on a terminal, one line every 15 seconds in a log file."""
    to_terminal = sys.stderr.isatty()
    return tqdm(
        iterable,
        desc=description,
        total=total,
        unit=unit,
        unit_scale=options.pop("unit_scale", unit in ("B", "tokens")),
        dynamic_ncols=to_terminal,
        mininterval=0.2 if to_terminal else 15.0,
        leave=options.pop("leave", True),
        file=sys.stderr,
        **options,
    )
