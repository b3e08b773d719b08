"""Shows the training data: rows as the encoder sees them, or a report on the corpus, its rows and their masks.

Without --report, prints --rows rows of the batch of --step, decoded:
  [MASK]‹cat›   masked; the text has "cat"
  dog‹≠cat›     replaced by a random vocabulary entry; the text has "cat"
  cat‹=›        predicted, but shown unchanged
with segments A and B (B underlined), the examples of a packed row numbered, pair labels in words, and padding counted.
Where the output is not a terminal there are no colours, and each segment is one line.

With --report FOLDER, measures the corpus, the rows of the split and the masks of a sample of its batches, prints the
figures, and writes FOLDER/report.html (figures, plots and the decoded rows on one page that needs no other file),
report.txt and report.json (every number, for scripts).

  bert-jax inspect --config experiments/quickstart.py --step 1000 --rows 8
  bert-jax inspect --config experiments/quickstart.py --report runs/corpus

Exit status: 0 shown, 1 no prepared corpus, 2 bad usage or configuration.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bert_jax.commands import add_config_argument, experiment_words, load_config
from bert_jax.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument("--step", type=int, default=0, help="decode the batch of this step (default 0)")
    parser.add_argument("--rows", type=int, default=4, help="number of its rows to decode (default 4)")
    parser.add_argument("--split", choices=("train", "eval"), default="train", help="default train")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write a report into this folder")


def main(args: argparse.Namespace) -> None:
    for name, value, least in (("rows", args.rows, 1), ("step", args.step, 0)):
        if value < least:
            raise UsageError(f"--{name} {value} must be >= {least}")
    config = load_config(args)

    from bert_jax.inspection.report import show_rows, write_report

    if args.report is None:
        show_rows(config, step=args.step, rows=args.rows, split=args.split, experiment=experiment_words(args))
    else:
        write_report(
            config,
            args.report,
            step=args.step,
            rows=args.rows,
            split=args.split,
            experiment=experiment_words(args),
        )
