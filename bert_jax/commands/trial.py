"""Runs one trial of a sweep: trains it, or resumes it, and probes it. Any scheduler can run this command.

  bert-jax sweep FILE --workdir S --executor commands     prints the command of every unfinished trial
  bert-jax trial S none-seed0                             runs one

The folder S of the sweep holds all that the trial needs except the prepared corpus and, of a trial of distillation, the
teacher, whose place it names. S/attempts/NAME.jsonl records when it began and how it ended. Several processes (srun, a
TPU pod) find each other as those of `bert-jax pretrain` do.
Exit status: 0 trained and probed, 1 failure, 2 no such trial, 128 + signal when stopped (saved first).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from bert_jax import signals
from bert_jax.commands import refuse_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="S", help="folder of the sweep")
    parser.add_argument("name", metavar="NAME", help="the trial: VARIANT-seedN")
    parser.add_argument(
        "--probe",
        action="store_true",
        help="only probe a trained trial, in this process alone; of several processes the first ends with this",
    )


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the trial's configuration is in the sweep's folder")
    from bert_jax.commands import distill, pretrain, probe
    from bert_jax.sweeps import trials
    from bert_jax.sweeps.trial import run_trial

    if parent := os.environ.get(trials.PARENT):
        signals.end_with(int(parent))

    run_trial(
        args.folder,
        args.name,
        train=pretrain.run,
        distill=distill.run,
        probe=probe.run,
        only_probe=args.probe,
    )
