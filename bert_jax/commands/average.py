"""The mean of the parameters of several checkpoints of a run, as a model of its own.

  bert-jax average --workdir runs/base --checkpoints best,last:3

Such a mean often has a lower held-out loss than each of its checkpoints, most of all while the learning rate is still
high (Izmailov et al. 2018); ModernBERT's final base model is the mean of four. Prints the held-out scores of
each checkpoint and of the mean, as `bert-jax evaluate` computes them, where the run's corpus or data is there; the last
line is one JSON object.

The folder is an export in this package's own format, with average.json beside, which says what it was made of: bert_jax.load,
predict and export --model open it, and pretrain, finetune and distill begin with it by --init.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_jax import atomic
from bert_jax.commands import refuse_overrides
from bert_jax.errors import UserError

if TYPE_CHECKING:
    from bert_jax.tasks.average import Averaged, Comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=Path, help="folder of a run")
    parser.add_argument(
        "--checkpoints",
        required=True,
        type=_names,
        metavar="NAME,NAME",
        help="two or more: steps, best, last, or last:N for the last N, such as 800,900,1000 or best,last:3"
        " (config.checkpoint.keep says how many a run keeps)",
    )
    parser.add_argument(
        "--out", type=Path, help="the folder to make; default: average-STEP-STEP in the workdir"
    )
    parser.add_argument(
        "--part",
        choices=("discriminator", "generator"),
        help="of a run with config.objective.name=rtd: which of its two encoders (default discriminator)",
    )


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the configuration is the workdir's")
    run(args.workdir, args.checkpoints, out=args.out, part=args.part)


def run(
    workdir: Path, checkpoints: tuple[str, ...], *, out: Path | None = None, part: str | None = None
) -> Comparison | None:
    """Writes the mean, prints the scores and returns them; None where nothing is there to score on.

    Raises:
      UserError: no workdir; a checkpoint or an encoder that is not there; one checkpoint alone; `out` is not free.
    """
    from bert_jax.interop.native import save_native
    from bert_jax.tasks.average import average, compare

    averaged = average(workdir, checkpoints, part=part)
    out = out or workdir / "-".join(("average", *map(str, averaged.steps)))
    atomic.check_free(out)  # before minutes of scoring
    compared, reason = None, ""
    try:
        compared = compare(workdir, averaged)
    except UserError as error:
        reason = str(error)
    about = _about(workdir, averaged, compared)
    model = averaged.model
    notes = {"average.json": about}
    save_native(out, model.params, config=model.config, tokenizer=model.tokenizer, notes=notes)
    _show(workdir, averaged, compared, reason)
    print(f"wrote {out}: bert_jax.load('{out}') opens it")
    print(json.dumps({"out": str(out), **about}))
    return compared


def _about(workdir: Path, averaged: Averaged, compared: Comparison | None) -> dict[str, Any]:
    """What the mean was made of, for JSON."""
    made = {"workdir": str(workdir), "checkpoints": list(averaged.steps)}
    if compared is None:
        return made
    each = {str(step): dict(scores) for step, scores in compared.checkpoints.items()}
    return {**made, "scores": {**each, "average": dict(compared.average)}}


def _show(workdir: Path, averaged: Averaged, compared: Comparison | None, reason: str) -> None:
    from bert_jax.console import table

    if compared is None:
        table(
            f"the mean of {len(averaged.steps)} checkpoints of {workdir}",
            {"steps": ", ".join(map(str, averaged.steps)), "not scored": reason},
        )
        return
    name = compared.select.name
    rows = {f"step {step}": f"{scores[name]:.4f}" for step, scores in compared.checkpoints.items()}
    rows["average"] = f"{compared.average[name]:.4f} (best checkpoint: {compared.best:.4f})"
    table(f"{workdir}: held-out {name.replace('_', ' ')}", rows)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))
