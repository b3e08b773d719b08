"""Runs a sweep: prepares its text once, then hands the trials that are not finished to an executor."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from bert_jax import locks
from bert_jax.config import PretrainConfig
from bert_jax.config.phases import token_slots
from bert_jax.console import table
from bert_jax.errors import UserError
from bert_jax.sweeps import local, slurm, store
from bert_jax.sweeps import teacher as teachers
from bert_jax.sweeps.definition import Plan, Trial
from bert_jax.sweeps.trials import trial_state
from bert_jax.sweeps.watch import summary

Executor = Literal["local", "slurm", "commands"]


def run_sweep(
    plan: Plan,
    folder: Path,
    *,
    prepare: Callable[[PretrainConfig], None],
    executor: Executor = "local",
    jobs: int | None = None,
    attempts: int = 3,
    stall: float = 3600.0,
    slurm_options: Sequence[str] = (),
) -> None:
    """Prepares the text, then runs, submits or prints every trial that is not finished.

    Args:
      folder: S, made or taken up again.
      prepare: prepares the corpus of a configuration, or finds it prepared.
      jobs: trials at a time; None: a GPU each or one (local), no limit (slurm).
      attempts: how often a trial that fails is run.
      stall: local: seconds without a line of metrics after which a trial is killed and counts as failed.
      slurm_options: for sbatch.

    Raises:
      ConfigError: `folder` belongs to another sweep, or losses do not fit the teacher.
      UserError: the folder is in use, there is no text or no teacher, or trials did not finish.
      Interrupted: Ctrl-C or SIGTERM; running trials are saved.
    """
    slots = local.slots(jobs) if executor == "local" else ()
    if plan.sweep.teacher:
        plan = plan.with_teacher(teachers.located(plan.sweep.teacher))
        teachers.check(plan.sweep.teacher, {trial.variant: trial.config for trial in plan.trials})
    store.claim(folder, plan)
    with locks.held(folder / ".lock", f"--workdir {folder}"):
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the lines of `commands`
            _prepare_corpora(plan, prepare)
        unfinished = [
            trial for trial in plan.trials if trial_state(folder, trial).status not in ("finished", "running")
        ]
        if executor == "commands":
            return _print_commands(folder, unfinished)
        if executor == "slurm":
            return _submit(folder, plan, unfinished, jobs=jobs, attempts=attempts, options=slurm_options)
        local.run(folder, unfinished, slots=slots, attempts=attempts, stall=stall)
    return _print_outcome(folder, plan.trials)


def _prepare_corpora(plan: Plan, prepare: Callable[[PretrainConfig], None]) -> None:
    """Prepares each corpus once: most sweeps have one for all trials."""
    from bert_jax.data.corpus.open import corpus_folder

    corpora = {corpus_folder(trial.config): trial.config for trial in plan.trials}
    for config in corpora.values():
        prepare(config)


def _print_commands(folder: Path, trials: Sequence[Trial]) -> None:
    """One line of shell a trial; paths in its configuration may be relative to the current directory."""
    for trial in trials:
        print(f"cd {shlex.quote(os.getcwd())} && {shlex.join(local.command(folder, trial))}")


def _submit(
    folder: Path,
    plan: Plan,
    unfinished: Sequence[Trial],
    *,
    jobs: int | None,
    attempts: int,
    options: Sequence[str],
) -> None:
    job, queued = slurm.submit(folder, plan.trials, unfinished, jobs=jobs, attempts=attempts, options=options)
    if queued:
        print(f"{len(queued)} trials were queued or running already: {', '.join(queued)}")
    print(f"submitted job array {job}" if job else "nothing to submit")
    print(f"watch it: bert-jax sweep --status --workdir {folder}")


def _print_outcome(folder: Path, trials: Sequence[Trial]) -> None:
    states = {trial.name: trial_state(folder, trial) for trial in trials}
    unfinished = [
        f"{name} ({state.reason or state.status})"
        for name, state in states.items()
        if state.status != "finished"
    ]
    if unfinished:
        raise UserError(
            f"{folder}: {summary(folder, trials)}: {'; '.join(unfinished)}. Logs are in {folder}/logs; the same command"
            " runs these trials again, `bert-jax report` shows the finished ones"
        )
    print(f"{folder}: {summary(folder, trials)}. Next: bert-jax report {folder}")


def print_plan(plan: Plan) -> None:
    """Prints what the sweep would run."""
    sweep = plan.sweep
    entries = {"question": sweep.question, "base": sweep.base, "budget": f"{sweep.tokens:,} tokens a trial"}
    for variant in sweep.variants:
        config = next(trial.config for trial in plan.trials if trial.variant == variant.name)
        values = ", ".join(f"{key}={value}" for key, value in variant.values.items()) or "the base unchanged"
        mark = " (baseline)" if variant.name == sweep.baseline else ""
        entries[f"variant {variant.name}{mark}"] = (
            f"{values}; {config.train.steps:,} steps, {token_slots(config):,} tokens"
        )
    entries |= {"teacher": sweep.teacher} if sweep.teacher else {}
    entries |= {"seeds": ", ".join(map(str, sweep.seeds)), "probes": ", ".join(sweep.probes)}
    entries["trials"] = f"{len(plan.trials)}: {', '.join(trial.name for trial in plan.trials)}"
    table(plan.file, entries)
