"""Held-out loss and accuracy of a workdir's checkpoint, over the whole held-out split, in full-length rows.

The split, its rows and its masks are the same for every seed and checkpoint of a configuration. Prints
a table, and last one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_jax.commands import refuse_overrides
from bert_jax.config.phases import phases
from bert_jax.errors import UserError

if TYPE_CHECKING:
    from bert_jax.data.batches.pipeline import Batches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=Path, help="folder of a pretraining run")
    parser.add_argument("--checkpoint", default="last", help="last (default), best, or a step")


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the configuration is the workdir's")
    run(args.workdir, checkpoint=args.checkpoint)


def run(workdir: Path, *, checkpoint: str = "last") -> dict[str, float]:
    """Evaluates, prints, and returns the means with `step`.

    Raises:
      UserError: no such checkpoint, no held-out documents, or the corpus is gone or changed.
    """
    from bert_jax.data.corpus.open import open_corpus
    from bert_jax.training.workdir import read_config

    config, digest = read_config(workdir)
    if not config.data.eval_fraction:
        raise UserError("config.data.eval_fraction=0: the run held no documents out to evaluate on")
    shards = open_corpus(config)
    if shards.digest != digest:
        raise UserError(f"{shards.folder} has digest {shards.digest}, the run was trained on {digest}")

    from bert_jax.console import table
    from bert_jax.objectives.sums import means
    from bert_jax.tasks.assembly import Assembly
    from bert_jax.training.checkpoint import Checkpoints

    parts = Assembly.of(phases(config)[-1].config)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        step = checkpoints.choose(checkpoint)
        params = checkpoints.restore_params(parts.abstract_state().params, step)
    sums = parts.evaluator(evaluation_batches(parts.batches(shards, "eval"), 0))(params)
    values = {"step": step, **parts.objective.report(means(sums))}
    rows = {name: f"{value:.4f}" for name, value in values.items() if name != "step"}
    for name, (_, weight) in sums.items():
        rows[name] += f" over {weight:,.0f}" if name.endswith("_loss") else ""
    if "pair_accuracy" in values:
        error = standard_error(values["pair_accuracy"], float(sums["pair_accuracy"][1]))
        values["pair_accuracy_standard_error"] = error
        rows["pair_accuracy"] += f" +- {error:.4f} (standard error)"
    table(f"{workdir} at step {step}, held-out documents", rows)
    print(json.dumps(values))
    return values


def evaluation_batches(batches: Batches, limit: int) -> Callable[[], Iterable[Any]]:
    """The first `limit` batches of an evaluation split, all for 0."""
    stop = min(limit or batches.count, batches.count)
    return lambda: batches.iterate(0, stop)


def standard_error(accuracy: float, count: float) -> float:
    """Of a share estimated from `count` independent trials: sqrt(p (1 - p) / n)."""
    return math.sqrt(accuracy * (1 - accuracy) / count)
