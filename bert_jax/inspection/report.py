"""Decoded rows of a configuration's batch on the terminal, and the corpus report as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from bert_jax import atomic
from bert_jax.config import PretrainConfig
from bert_jax.config.phases import phases
from bert_jax.data.batches.pipeline import Batches
from bert_jax.data.corpus.open import open_corpus
from bert_jax.data.instances.index import Split
from bert_jax.errors import UsageError
from bert_jax.inspection import page
from bert_jax.inspection.decoded_rows import Row, decode_rows, print_rows
from bert_jax.inspection.measure import measure, present
from bert_jax.text import tokenizer
from bert_jax.text.tokenizer import Tokenizer


def show_rows(
    config: PretrainConfig, *, step: int = 0, rows: int = 4, split: Split = "train", experiment: str = "X"
) -> None:
    """Prints the first `rows` rows of the batch of `step`, decoded. experiment: the file to name in messages.

    Raises:
      UserError: no prepared corpus, or no row in the split.
      UsageError: the run or the eval split does not have the step.
    """
    found = _decode(config, step=step, rows=rows, split=split, experiment=experiment)
    print_rows(found.rows, Console(highlight=False))


def write_report(
    config: PretrainConfig,
    folder: Path,
    *,
    step: int = 0,
    rows: int = 4,
    split: Split = "train",
    experiment: str = "X",
) -> None:
    """Writes report.html, report.txt and report.json into `folder`, each whole or not at all, and prints the figures.

    Raises:
      UserError, UsageError: as `show_rows`.
    """
    found = _decode(config, step=step, rows=rows, split=split, experiment=experiment)
    report = measure(found.batches, found.vocabulary, experiment=experiment)
    folder.mkdir(parents=True, exist_ok=True)
    text = page.as_text(report)
    atomic.write_text(folder / "report.html", page.as_html(report, found.rows))
    atomic.write_text(folder / "report.txt", text)
    atomic.write_text(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(text)
    print(folder / "report.html")


class _Decoded(NamedTuple):
    batches: Batches
    vocabulary: Tokenizer
    rows: list[Row]


def _decode(config: PretrainConfig, *, step: int, rows: int, split: Split, experiment: str) -> _Decoded:
    if split == "train" and step >= config.train.steps:
        raise UsageError(f"--step {step} must be < config.train.steps={config.train.steps}")
    # The phases of a run differ in row length; held-out rows are shown at that of the last.
    of_run = phases(config)
    phase = of_run[-1] if split == "eval" else next(p for p in of_run if step < p.stop)
    shards = open_corpus(config, experiment=experiment)
    vocabulary = tokenizer.load(shards.folder / "tokenizer.json")
    batches = Batches(shards, phase.config, split)
    if split == "eval" and step >= batches.count:
        raise UsageError(f"--step {step} must be < {batches.count}, the batches of the eval split")
    batch = batches.at(step)
    shown = range(min(rows, present(batches, batch)))
    return _Decoded(batches, vocabulary, decode_rows(batch, shown, vocabulary, phase.config.data))
