"""Draws the learning curves of one or more runs into one PNG: loss, accuracy, gradient norm, learning rate.

  bert-jax plot --workdir runs/a                                       writes runs/a/loss.png
  bert-jax plot --workdir runs/a --workdir runs/b --out ab.png         compares two runs, one colour each

Prints the path of the PNG. A field of metrics.jsonl that no run has gets no panel.
Exit status: 0 drawn, 1 a workdir has no metrics, 2 bad usage.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bert_jax.commands import refuse_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workdir", required=True, type=Path, action="append", help="a run; repeat to compare several"
    )
    parser.add_argument("--out", type=Path, help="the PNG (default: loss.png in the first workdir)")


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "plot reads metrics.jsonl alone")
    from bert_jax.inspection.curves import draw_curves

    print(draw_curves(args.workdir, args.out or args.workdir[0] / "loss.png"))
