"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def table(title: str, rows: Mapping[str, Any]) -> None:
    """Prints names and values in two columns. Paths are never cut, so that they can be copied."""
    drawn = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for name, value in rows.items():
        drawn.add_row(name, str(value))
    console = Console(highlight=False)
    console.print(drawn, soft_wrap=not console.is_terminal)
