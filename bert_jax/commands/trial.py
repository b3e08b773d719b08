"""Runs one trial of a sweep to its end: trains it, or goes on, and probes it. Any scheduler can run this line.

  bert-jax sweep FILE --workdir S --executor commands     prints it for every trial

S is the sweep's folder and holds all that the trial needs but the prepared corpus. What became of it is noted in
S/attempts/NAME.jsonl. Several processes (srun, a TPU pod) find each other as those of `bert-jax pretrain` do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from bert_jax.commands import refuse_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="S", help="folder of the sweep")
    parser.add_argument("name", metavar="NAME", help="the trial: ARM-seedN")
    parser.add_argument(
        "--probe",
        action="store_true",
        help="only probe what is trained, looking for no other processes; process 0 of several ends with this",
    )


def main(args: argparse.Namespace) -> None:
    refuse_overrides(args, "the trial's configuration is in the sweep's folder")
    run(args.folder, args.name, only_probe=args.probe)


def run(folder: Path, name: str, *, only_probe: bool = False) -> None:
    """Trains and probes the trial `name` of the sweep in `folder`.

    Raises:
      UsageError: no such trial.
      UserError: no sweep there, another process runs the trial, or what `pretrain` and `probe` raise.
    """
    from bert_jax.sweeps import folder as folders

    plan = folders.read_sweep(folder)
    trial = plan.trial(name)
    workdir = folders.workdir(folder, trial)

    from bert_jax.commands import pretrain, probe
    from bert_jax.training import processes

    if not only_probe:
        processes.start(None)
    together, first = not processes.is_alone(), processes.is_first()
    if first:
        processes.on_abort(
            lambda status, reason: folders.note_end(
                folder, trial, status=status, reason=reason.strip().split("\n")[-1]
            )
        )
    with folders.attempt(folder, trial) if first else contextlib.nullcontext():
        if not only_probe:
            pretrain.run(
                trial.config,
                workdir,
                experiment=f"of {name} in {folder}",
                command=f"bert-jax trial {folder} {name}",
            )
        if not together:
            probe.run(workdir, probes=plan.sweep.probes, reference=plan.reference)
    if together and first:
        # jax remembers the devices of the others for as long as this program runs.
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "bert_jax", "trial", str(folder), name, "--probe"])
