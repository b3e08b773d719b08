"""Shows what the data engine made: rows as the encoder sees them, or a report on the corpus, rows and masks.

Without --report, prints --rows rows of the batch of --step, decoded:
  [MASK]‹cat›   hidden; "cat" stood there
  dog‹≠cat›     shown as a random vocabulary entry; "cat" stood there
  cat‹=›        predicted, but shown as it is
with segments A and B (B underlined), the examples of a packed row numbered, pair labels in words, and padding
summed up. Colours are left out, and nothing is cut, where the output is no terminal.

With --report FOLDER, measures the corpus, the rows of the split and the masks of a sample of its batches, writes
FOLDER/report.html (figures, plots and the decoded rows on one page that needs no other file), report.txt and
report.json (every number, for scripts), and prints the figures.

  bert-jax inspect --config experiments/quickstart.py --step 1000 --rows 8
  bert-jax inspect --config experiments/quickstart.py --report runs/corpus
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_jax.commands import add_config_argument, load_config
from bert_jax.config import Config
from bert_jax.config.phases import phases
from bert_jax.errors import UsageError

if TYPE_CHECKING:
    from bert_jax.data.instances.index import Split
    from bert_jax.inspection.decoded_rows import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument("--step", type=int, default=0, help="batch to decode: that of this step (default 0)")
    parser.add_argument("--rows", type=int, default=4, help="rows of it to decode (default 4)")
    parser.add_argument("--split", choices=("train", "eval"), default="train", help="default train")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write a report there")


def main(args: argparse.Namespace) -> None:
    for name, value, least in (("rows", args.rows, 1), ("step", args.step, 0)):
        if value < least:
            raise UsageError(f"--{name} {value} must be >= {least}")
    run(
        load_config(args),
        step=args.step,
        rows=args.rows,
        split=args.split,
        report=args.report,
        experiment=args.config,
    )


def run(
    config: Config,
    *,
    step: int = 0,
    rows: int = 4,
    split: Split = "train",
    report: Path | None = None,
    experiment: str = "X",
) -> None:
    """Prints decoded rows, or writes a report into the folder `report` and prints its figures.

    Raises:
      UserError: no prepared corpus, or no row in the split.
      UsageError: a step that the run or the eval split does not have.
    """
    from rich.console import Console

    from bert_jax.data.batches.pipeline import Batches
    from bert_jax.data.corpus.open import open_corpus
    from bert_jax.inspection.decoded_rows import decode_rows, print_rows
    from bert_jax.inspection.measure import measure, present
    from bert_jax.text import tokenizer

    if split == "train" and step >= config.train.steps:
        raise UsageError(f"--step {step} must be < config.train.steps={config.train.steps}")
    # A run of two phases has two row lengths; held-out rows are shown at the full one.
    of_run = phases(config)
    phase = of_run[-1] if split == "eval" else next(p for p in of_run if step < p.stop)
    shards = open_corpus(config, experiment=experiment)
    vocabulary = tokenizer.load(shards.folder / "tokenizer.json")
    batches = Batches(shards, phase.config, split)
    if split == "eval" and step >= batches.count:
        raise UsageError(f"--step {step} must be < {batches.count}, the batches of the eval split")
    batch = batches.at(step)
    shown = range(min(rows, present(batches, batch)))
    decoded = decode_rows(batch, shown, vocabulary, phase.config.data)
    if report is None:
        print_rows(decoded, Console(highlight=False))
    else:
        _write(report, measure(batches, vocabulary, experiment=experiment), decoded)


def _write(folder: Path, report: dict[str, Any], rows: Sequence[Row]) -> None:
    """Writes the three files, each whole or not at all, and prints the figures."""
    from bert_jax.inspection import page as report_page

    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.html": report_page.as_html(report, rows),
        "report.txt": report_page.as_text(report),
        "report.json": json.dumps(report, indent=1, ensure_ascii=False) + "\n",
    }
    for name, text in texts.items():
        partial = folder / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
    print(texts["report.txt"])
    print(folder / "report.html")
