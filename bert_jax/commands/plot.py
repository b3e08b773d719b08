"""Draws loss, accuracy and gradient norm of one or more runs into one PNG, runs told apart by colour."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_jax.commands import refuse_overrides
from bert_jax.errors import UserError

_PANELS = (
    ("mlm_loss", "MLM loss (nats a masked token)"),
    ("mlm_accuracy", "MLM accuracy"),
    ("rtd_loss", "RTD loss (nats a token)"),
    ("rtd_accuracy", "RTD accuracy"),
    ("rtd_recall", "replaced tokens found"),
    ("replaced", "tokens replaced"),
    ("pair_loss", "pair loss (nats a pair)"),
    ("pair_accuracy", "pair accuracy"),
    ("grad_norm", "gradient norm"),
    ("learning_rate", "learning rate"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workdir", required=True, type=Path, action="append", help="a run; repeat to compare several"
    )
    parser.add_argument("--out", type=Path, help="the PNG (default: loss.png in the first workdir)")


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "plot reads metrics.jsonl alone")
    print(run(args.workdir, args.out or args.workdir[0] / "loss.png"))


def run(workdirs: Sequence[Path], out: Path) -> Path:
    """Draws the metrics of `workdirs` into `out` and returns it.

    Raises:
      UserError: a workdir without metrics.
    """
    from matplotlib.figure import Figure

    from bert_jax.training.metrics import read_metrics

    runs = {workdir: read_metrics(workdir / "metrics.jsonl") for workdir in workdirs}
    for workdir, lines in runs.items():
        if not lines:
            raise UserError(f"{workdir} has no metrics.jsonl with a line in it: nothing to draw")
    names = {name for lines in runs.values() for line in lines for name in line}
    panels = [(name, title) for name, title in _PANELS if name in names]
    columns = 2
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(11, 3.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for (name, title), axis in zip(panels, axes, strict=False):
        for number, (workdir, lines) in enumerate(runs.items()):
            _draw(axis, lines, name, colour=f"C{number}", label=str(workdir) if len(runs) > 1 else "")
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.25)
        axis.set_xlabel("step")
        axis.legend(fontsize=8)
    for axis in list(axes)[len(panels) :]:
        axis.set_visible(False)
    partial = out.with_name(out.name + ".partial")
    figure.savefig(partial, dpi=110, format="png")
    partial.replace(out)
    return out


def _draw(axis: Any, lines: list[dict[str, Any]], name: str, *, colour: str, label: str) -> None:
    for split, style in (("train", {"alpha": 0.45}), ("eval", {"marker": "o", "markersize": 3})):
        points = [(line["step"], line[name]) for line in lines if line["split"] == split and name in line]
        if points:
            where = "held-out" if split == "eval" else "training"
            axis.plot(*zip(*points, strict=True), color=colour, label=f"{label} {where}".strip(), **style)
