"""Reports on a sweep, finished or not: what its arms reached, how sure the differences are, and what they cost.

  bert-jax report S              as python launch/report.py S

Writes into S, or into --out:
  report.html       one page that needs no other file, for light, dark and paper
  report.md         the same, with its pictures in plots/
  plots/*.png
  report.csv        a line a trial and measure, cost.* among them: trial, arm, seed, state, step, steps, measure, unit,
                    value. A trial that is not finished, or cannot be read, has one line without measure and value
  comparisons.csv   a line a measure and arm: measure, unit, better, arm, baseline, n, finished, planned, mean,
                    sd, difference, low, high, p, p_holm, verdict, pairs_of_seeds, rows

Measures are scores of the probes (mlm.loss, sop.accuracy, ...) and held_out.X, X a field of the last eval line in
metrics.jsonl. Shares are between 0 and 1 in the CSV, per cent elsewhere. Only finished trials enter a number; the
others are listed with their state. Differences to the baseline are paired by seed and by held-out row, with 95 %
intervals, and p corrected for all tests of the sweep together (Holm); the page says how at its end.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bert_jax.commands import refuse_overrides
from bert_jax.errors import UsageError

if TYPE_CHECKING:
    from bert_jax.sweeps.reporting.writing import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", type=Path, metavar="S", help="folder of the sweep")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report is written (default: S)")


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "a report reads what the trials left")
    run(args.sweep, out=args.out)


def run(folder: Path, out: Path | None = None) -> Path:
    """Writes the report of the sweep in `folder`, prints its verdict and main table, and returns the HTML's path.

    Raises:
      UserError: `folder` is not a sweep's.
      UsageError: `out` is a file.
    """
    from bert_jax import progress
    from bert_jax.sweeps.reporting import page, plots, tables
    from bert_jax.sweeps.reporting.comparisons import compare
    from bert_jax.sweeps.reporting.results import gather

    out = folder if out is None else out
    results = gather(folder)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} must be a folder, it is a file")
    comparisons = compare(results)
    drawn = progress.bar(
        plots.draw(results, comparisons), description="plots", unit=" plots", leave=False, delay=3
    )
    composed = page.compose(results, comparisons, list(drawn))
    pictures = [plot for part in composed.parts if isinstance(part, tuple) for plot in part]
    (out / "plots").mkdir(parents=True, exist_ok=True)
    for plot in pictures:
        _write(out / "plots" / f"{plot.name}.png", plot.light)
    for old in set((out / "plots").glob("*.png")) - {out / "plots" / f"{plot.name}.png" for plot in pictures}:
        old.unlink()  # of an earlier report: nothing shows it any more
    texts = {
        "report.csv": tables.trials_csv(results),
        "comparisons.csv": tables.comparisons_csv(results, comparisons),
        "report.md": page.as_markdown(composed),
        "report.html": page.as_html(composed),
    }
    for name, text in texts.items():
        _write(out / name, text.encode("utf-8"))
    _print(composed.title, composed.verdicts, tables.overview(results, comparisons))
    for name in reversed(texts):
        print(out / name)
    return out / "report.html"


def _write(file: Path, content: bytes) -> None:
    partial = file.with_name(file.name + ".partial")
    partial.write_bytes(content)
    partial.replace(file)


def _print(title: str, verdicts: tuple[str, ...], shown: Table) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as Drawn

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200  # a log file has no edge to break lines at
    drawn = Drawn(box=None, pad_edge=False, header_style="bold")
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
