"""Reports on a sweep, finished or not: the scores of its variants, how certain the differences are, and the cost.

  bert-jax report S              the same as python launch/report.py S

Prints the verdict and the main table, and writes into S, or into --out:
  report.html       one page that needs no other file, for light and dark screens and for paper
  report.md         the same, with its pictures in plots/
  plots/*.png
  report.csv        a line for each trial and measure, cost.* among them: trial, variant, seed, state, step, steps,
                    measure, unit, value. An unfinished or unreadable trial has one line without measure and value
  comparisons.csv   a line for each measure and variant: measure, unit, better, variant, baseline, n, finished, planned,
                    mean, sd, difference, low, high, p, p_holm, verdict, pairs_of_seeds, rows

Measures are the scores of the probes (mlm.loss, sop.accuracy, ...) and held_out.X, X a field of the last eval line in
metrics.jsonl. Accuracies and the like are fractions in the CSV, per cent elsewhere. Only finished trials enter a
number; the others are listed with their states. Differences to the baseline are paired by seed and by held-out row,
with 95 % intervals and p corrected for all tests of the sweep together (Holm); the page ends with the method.
Exit status: 0 written, 1 S is not the folder of a sweep, 2 bad usage.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bert_jax.commands import refuse_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", type=Path, metavar="S", help="folder of the sweep")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report is written (default: S)")


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "a report reads the files of the trials")
    from bert_jax.sweeps.reporting.report import write_report

    write_report(args.sweep, args.out)
