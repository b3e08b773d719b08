"""Measures a pretrained encoder the same way whatever it was trained on, so that runs compare.

  mlm  loss and accuracy on held-out rows, also by token frequency and by position
  nsp  next-sentence prediction: a linear classifier on the frozen [CLS] state
  sop  sentence order: the same

--finetune FILE adds the accuracy of a classifier that is fine-tuned from the last checkpoint by this experiment of
`bert-jax finetune`, in W/finetuned/.

Rows, masks and pairs are the same for every run over a corpus and every seed. They are those of --like's
configuration, else of the run's own with BERT's masks. Writes probes.json and probes.npz into the workdir, prints a
table, and last one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from bert_jax import config as configs
from bert_jax.commands import refuse_overrides
from bert_jax.config import FinetuneConfig, PretrainConfig
from bert_jax.probes.scores import Probed

PROBES, _PAIRS = ("mlm", "nsp", "sop"), 4_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workdir", required=True, type=Path, help="folder of a pretraining run")
    parser.add_argument("--checkpoint", default="last", help="last (default), best, or a step")
    parser.add_argument(
        "--probes", default=",".join(PROBES), help=f"which, comma-separated (default {','.join(PROBES)})"
    )
    parser.add_argument(
        "--like",
        metavar="EXPERIMENT",
        help="experiment file whose rows and masks the run is scored on, over the run's own text (default: the"
        " run's own rows, with BERT's masks)",
    )
    parser.add_argument(
        "--pairs", type=int, default=_PAIRS, help=f"pairs a classifier is fitted to (default {_PAIRS})"
    )

    parser.add_argument(
        "--finetune",
        action="append",
        default=[],
        metavar="EXPERIMENT",
        help="experiment of classification (experiments/tasks/X.py) to fine-tune on and to score; may be repeated",
    )


def main(args: argparse.Namespace) -> None:
    if args.like is None:
        refuse_overrides(args, "it changes --like's configuration, and there is none")
    run(
        args.workdir,
        probes=[name for part in args.probes.split(",") if (name := part.strip())],
        checkpoint=args.checkpoint,
        reference=None if args.like is None else configs.load(args.like, args.overrides),
        pairs=args.pairs,
        tasks={
            Path(file.partition(":")[0]).stem: configs.load(file, kind=FinetuneConfig)
            for file in args.finetune
        },
    )


def run(
    workdir: Path,
    *,
    probes: Sequence[str] = PROBES,
    checkpoint: str = "last",
    reference: PretrainConfig | None = None,
    pairs: int = _PAIRS,
    tasks: Mapping[str, FinetuneConfig] | None = None,
) -> Probed:
    """Probes (see `bert_jax.probes.run.probe`), prints and returns what was found."""
    from bert_jax.probes.printing import print_probed
    from bert_jax.probes.run import probe

    found = probe(
        workdir, probes=probes, checkpoint=checkpoint, reference=reference, pairs=pairs, tasks=tasks
    )
    print_probed(workdir, found.probed, found.skipped)
    print(json.dumps({"step": found.probed.step, **{s.name: s.value for s in found.probed.scores}}))
    return found.probed
