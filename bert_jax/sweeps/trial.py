"""Runs one trial of a sweep, in one process or in several."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bert_jax.sweeps import trials
from bert_jax.sweeps.store import read_plan
from bert_jax.training import processes


def run_trial(
    folder: Path,
    name: str,
    *,
    train: Callable[..., object],
    distill: Callable[..., object],
    probe: Callable[..., object],
    only_probe: bool = False,
) -> None:
    """Trains the trial `name` of the sweep in `folder`, or resumes it, then probes it.

    train(config, workdir, experiment=, command=) is `pretrain.run`, distill, for a trial of distillation, with teachers=
    besides, `distill.run`, and probe(workdir, probes=, reference=, tasks=) `probe.run`. Of several processes the first
    probes alone, as a new program (only_probe), since jax keeps the devices of the others for as long as this one runs.

    Raises:
      UsageError: no such trial.
      UserError: no sweep there, another process runs the trial, or what `train`, `distill` and `probe` raise.
    """
    plan = read_plan(folder)
    trial = plan.trial(name)
    workdir = trials.workdir(folder, trial)
    if not only_probe:
        processes.start(None)
    is_one_of_several, is_first = not processes.is_alone(), processes.is_first()
    if is_first:
        processes.on_abort(
            lambda status, reason: trials.record_end(
                folder, trial, status=status, reason=reason.strip().split("\n")[-1]
            )
        )
    with trials.attempt(folder, trial) if is_first else contextlib.nullcontext():
        if not only_probe:
            if trial.has_teacher:
                train = functools.partial(distill, teachers=(plan.sweep.teacher,))
            train(
                trial.config,
                workdir,
                experiment=f"of {name} in {folder}",
                command=f"bert-jax trial {folder} {name}",
            )
        if not is_one_of_several:
            probe(workdir, probes=plan.sweep.probes, reference=plan.reference, tasks=plan.tasks)
    if is_one_of_several and is_first:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "bert_jax", "trial", str(folder), name, "--probe"])
