"""Writes the report of a sweep's folder and prints its verdict and main table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bert_jax import atomic, progress
from bert_jax.errors import UsageError
from bert_jax.plotting import Plot
from bert_jax.sweeps.reporting import page, plots, tables, writing
from bert_jax.sweeps.reporting.comparisons import compare
from bert_jax.sweeps.reporting.results import gather


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Writes the report of the sweep in `folder` into `out`, or beside its trials, and returns the HTML's path.

    Raises:
      UserError: `folder` is not that of a sweep.
      UsageError: `out` is a file.
    """
    out = folder if out is None else out
    results = gather(folder)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} must be a folder, it is a file")
    comparisons = compare(results)
    drawn = progress.bar(
        plots.draw(results, comparisons), description="plots", unit=" plots", leave=False, delay=3
    )
    composed = page.compose(results, comparisons, list(drawn))
    _write_plots(out / "plots", (plot for part in composed.parts if isinstance(part, tuple) for plot in part))
    texts = {
        "report.csv": tables.trials_csv(results),
        "comparisons.csv": tables.comparisons_csv(results, comparisons),
        "report.md": page.as_markdown(composed),
        "report.html": page.as_html(composed),
    }
    for name, text in texts.items():
        atomic.write_text(out / name, text)
    _print(composed.title, composed.verdicts, tables.overview(results, comparisons))
    for name in reversed(texts):
        print(out / name)
    return out / "report.html"


def _write_plots(folder: Path, plots: Iterable[Plot]) -> None:
    """Writes the light plots, which report.md shows, and deletes those of an earlier report."""
    folder.mkdir(parents=True, exist_ok=True)
    written = set()
    for plot in plots:
        written.add(folder / f"{plot.name}.png")
        atomic.write_bytes(folder / f"{plot.name}.png", plot.light)
    for old in set(folder.glob("*.png")) - written:
        old.unlink()


def _print(title: str, verdicts: tuple[str, ...], shown: writing.Table) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a log file has no edge to break lines at
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(shown.header):
        drawn.add_column(escape(name), justify="left" if place < shown.words else "right", overflow="fold")
    for row in shown.rows:
        drawn.add_row(*map(escape, row))
    console.print(f"[bold]{escape(title)}[/bold]\n", soft_wrap=True)
    console.print(drawn)
    console.print()
    for line in verdicts:
        console.print(escape(line), soft_wrap=True)
    console.print()
