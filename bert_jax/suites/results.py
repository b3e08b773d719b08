"""The table of a suite's scores beside published ones, on the terminal, as Markdown and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bert_jax import atomic
from bert_jax.scoring.glue import PUBLISHED
from bert_jax.suites.run import TaskResult
from bert_jax.tasks.seeds import Spread


def show(results: Sequence[TaskResult], workdir: Path, *, is_glue: bool) -> Path:
    """Prints the table; writes it as workdir/suite.md, and every score as workdir/suite.json. Returns the former."""
    header = ["model", *(result.name for result in results), "mean"]
    rows = [_own(results)]
    if is_glue:
        rows += [_published(title, results) for title in PUBLISHED]
    rows = [row for row in rows if any(cell != "-" for cell in row[1:])]
    table = Table(*header, title=f"{workdir}, per cent", title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(table, soft_wrap=not console.is_terminal)
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    notes = [f"{result.name}: {result.chosen}" for result in results if result.chosen]
    faults = [f"{result.name} failed: {fault}" for result in results for fault in result.faults]
    for line in (*notes, *faults):
        console.print(line)
    text = "\n".join([*lines, "", *(f"- {line}" for line in (*notes, *faults))])
    atomic.write_text(workdir / "suite.md", text + "\n")
    atomic.write_text(
        workdir / "suite.json", json.dumps([_json(result) for result in results], indent=1) + "\n"
    )
    return workdir / "suite.md"


def _own(results: Sequence[TaskResult]) -> list[str]:
    means = [result.scores["score"].mean for result in results if result.scores]
    cells = [_cell(result.scores["score"]) if result.scores else "failed" for result in results]
    whole = len(means) == len(results)
    return ["this model", *cells, f"{100 * math.fsum(means) / len(means):.1f}" if means and whole else "-"]


def _cell(score: Spread) -> str:
    if math.isnan(score.margin):
        return f"{100 * score.mean:.1f}"
    return f"{100 * score.mean:.1f} ± {100 * score.deviation:.1f}"


def _published(title: str, results: Sequence[TaskResult]) -> list[str]:
    row = PUBLISHED[title]
    there = [row[result.name] for result in results if result.name in row]
    cells = [f"{100 * row[result.name]:.1f}" if result.name in row else "-" for result in results]
    whole = len(there) == len(results)
    return [title, *cells, f"{100 * math.fsum(there) / len(there):.1f}" if there and whole else "-"]


def _json(result: TaskResult) -> dict[str, object]:
    scores = {
        name: {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in dataclasses.asdict(one).items()
        }
        for name, one in result.scores.items()
    }
    return {
        "task": result.name,
        "chosen": result.chosen,
        "model": str(result.model) if result.model else None,
        "scores": scores,
        "faults": result.faults,
    }
