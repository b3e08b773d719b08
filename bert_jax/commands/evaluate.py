"""Held-out scores of a workdir's checkpoint: over all held-out rows of the last phase of pretraining, or over
config.task.eval, config.task.test or other labelled data of a fine-tuned run.

The split, its rows and its masks are the same for every seed and checkpoint of a configuration. Prints
a table, and last one JSON object. Of a fine-tuned run report.html in the workdir has the learning curves, a confusion
matrix and the worst errors.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from bert_jax.commands import refuse_overrides

if TYPE_CHECKING:
    from bert_jax.tasks.evaluate import Scored


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=Path, help="folder of a run")
    parser.add_argument("--checkpoint", default="last", help="last (default), best, or a step")
    parser.add_argument(
        "--split",
        choices=("eval", "test"),
        default="eval",
        help="of a fine-tuned run: task.eval (default) or task.test",
    )
    parser.add_argument(
        "--data", default="", help="of a fine-tuned run: other labelled data, as config.task.test names it"
    )

    parser.add_argument(
        "--errors",
        type=int,
        default=20,
        metavar="N",
        help="of a fine-tuned run: the N worst errors are listed in report.html (default 20)",
    )


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the configuration is the workdir's")
    run(args.workdir, checkpoint=args.checkpoint, part=args.split, data=args.data, errors=args.errors)


def run(
    workdir: Path, *, checkpoint: str = "last", part: Scored = "eval", data: str = "", errors: int = 20
) -> dict[str, float]:
    """Evaluates, prints, and returns the scores with `step`.

    Raises:
      UserError: no such checkpoint, no held-out documents, or the corpus is gone or changed.
    """
    from bert_jax.console import table
    from bert_jax.inspection.finetuned_page import REPORT_FILE, write_page
    from bert_jax.tasks.evaluate import evaluate

    found = evaluate(workdir, checkpoint=checkpoint, part=part, data=data)
    values: dict[str, float] = {"step": found.step, **found.scores}
    rows = {name: f"{value:.4f}" for name, value in found.scores.items()}
    for name, weight in found.weights.items():
        rows[name] += f" over {weight:,.0f}" if name.endswith("_loss") else ""
    if "pair_accuracy" in values:
        error = standard_error(values["pair_accuracy"], found.weights["pair_accuracy"])
        values["pair_accuracy_standard_error"] = error
        rows["pair_accuracy"] += f" +- {error:.4f} (standard error)"
    title = f"{workdir} at step {found.step}, {(data or part) if found.judged else 'held-out documents'}"
    report = {"report": workdir / REPORT_FILE} if found.judged else {}
    table(title, rows | report)
    print(json.dumps(values))
    if found.judged:  # last: the scores are known also where it cannot be written
        write_page(
            workdir,
            title=title,
            scores=found.scores,
            judged=found.judged,
            confusion=found.confusion,
            errors=errors,
        )
    return values


def standard_error(accuracy: float, count: float) -> float:
    """Of a share estimated from `count` independent trials: sqrt(p (1 - p) / n)."""
    return math.sqrt(accuracy * (1 - accuracy) / count)
