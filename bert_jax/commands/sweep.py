"""Runs a sweep: every arm of a question with every seed, each for the same budget of tokens, into one folder.

  bert-jax sweep experiments/sweeps/nsp_vs_sop.py:tiny --workdir S --config.data.path='corpus/*.txt'
  bert-jax report S

FILE states the question, a base experiment, named arms, seeds, the budget and the probes that score each trial;
FILE:SIZE asks for one of its sizes (full, the default, and tiny). The text is prepared once. Run again, the same
command skips what is finished, resumes what was cut and tries again what failed; arms and seeds may be added.

Executors:
  local      on this machine, --jobs at a time, each with its share of GPUs, TPU chips or cores; a live table
  slurm      one job array; what --slurm holds goes to sbatch. Returns once it is submitted: see --status
  commands   prints a line for each trial that is not finished, for any other scheduler

Ctrl-C once saves what runs; twice kills it. Exit status: 0 all trials finished (slurm: submitted), 1 some did not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_jax.errors import UsageError, UserError

if TYPE_CHECKING:
    from bert_jax.sweeps.definition import Plan, Trial


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", metavar="FILE", help="sweep file with get_sweep(); FILE:SIZE")
    parser.add_argument("--workdir", required=True, type=Path, metavar="S", help="folder of the sweep")
    parser.add_argument(
        "--executor", choices=("local", "slurm", "commands"), default="local", help="see above; default local"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="trials at a time (local: a GPU each, else 1; slurm: no limit)"
    )
    parser.add_argument(
        "--attempts", type=int, default=3, metavar="N", help="tries of a trial that fails (default 3)"
    )
    parser.add_argument(
        "--stall",
        type=float,
        default=60,
        metavar="MINUTES",
        help="local: a trial that logs nothing for so long is killed and counts as failed (default 60)",
    )
    parser.add_argument(
        "--slurm", default="", metavar="OPTIONS", help='for sbatch: "--partition=gpu --gres=gpu:1"'
    )
    parser.add_argument("--tokens", type=float, metavar="N", help="another budget for every trial: 5e6")
    parser.add_argument("--seeds", metavar="N,N", help="other seeds than the file's: 0,1,2,3,4")
    parser.add_argument("--list", action="store_true", help="check the sweep, show its trials and do nothing")
    parser.add_argument(
        "--status", action="store_true", help="show where the trials of S stand and do nothing"
    )


def main(args: argparse.Namespace) -> None:
    if args.status:
        if args.file or args.overrides:
            raise UsageError("--status reads S alone: leave FILE and --config... out")
        return status(args.workdir)
    if not args.file:
        raise UsageError("FILE is missing: the sweep to run, such as experiments/sweeps/nsp_vs_sop.py:tiny")
    if args.attempts < 1:
        raise UsageError(f"--attempts {args.attempts} must be >= 1")
    if not args.stall > 0:
        raise UsageError(f"--stall {args.stall} must be > 0 minutes")
    plan = load(args.file, args.overrides, tokens=args.tokens, seeds=args.seeds)
    if args.list:
        return show(plan)
    run(
        plan,
        args.workdir,
        executor=args.executor,
        jobs=args.jobs,
        attempts=args.attempts,
        stall=60 * args.stall,
        slurm_options=shlex.split(args.slurm),
    )
    return None


def load(
    file: str, overrides: Sequence[str] = (), *, tokens: float | None = None, seeds: str | None = None
) -> Plan:
    """The plan of a sweep file as the flags change it; see `sweeps.definition.load`."""
    from bert_jax.commands.probe import PROBES
    from bert_jax.sweeps import definition

    changed: dict[str, Any] = {}
    if tokens is not None:
        if tokens != round(tokens):
            raise UsageError(f"--tokens {tokens} must be a whole number")
        changed["tokens"] = round(tokens)
    if seeds is not None:
        parts = [part.strip() for part in seeds.split(",")]
        if not all(part.isdecimal() for part in parts):
            raise UsageError(f"--seeds {seeds} must be whole numbers with commas between: 0,1,2")
        changed["seeds"] = tuple(int(part) for part in parts)
    plan = definition.load(file, overrides, **changed)
    unknown = [name for name in plan.sweep.probes if name not in PROBES]
    if unknown:
        raise UsageError(f"{file}: probes: {unknown[0]!r} must be one of {', '.join(PROBES)}")
    return plan


def run(
    plan: Plan,
    folder: Path,
    *,
    executor: str = "local",
    jobs: int | None = None,
    attempts: int = 3,
    stall: float = 3600,
    slurm_options: Sequence[str] = (),
) -> None:
    """Prepares the text, then runs, submits or prints every trial that is not finished.

    Raises:
      ConfigError: `folder` is of another sweep.
      UserError: it is in use, there is no text, or trials did not finish.
      Interrupted: Ctrl-C or SIGTERM; what ran is saved.
    """
    from bert_jax import locks
    from bert_jax.sweeps import folder as folders
    from bert_jax.sweeps import local, slurm

    shares = local.shares(jobs) if executor == "local" else ()
    folders.claim(folder, plan)
    with locks.held(folder / ".lock", f"--workdir {folder}"):
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the lines of `commands`
            _prepare(plan)
        left = [
            t for t in plan.trials if folders.trial_state(folder, t).status not in ("finished", "running")
        ]
        if executor == "commands":
            for trial in left:  # paths in a configuration may be relative to here
                print(f"cd {shlex.quote(os.getcwd())} && {shlex.join(local.command(folder, trial))}")
            return
        if executor == "slurm":
            job, queued = slurm.submit(
                folder, plan.trials, left, jobs=jobs, attempts=attempts, options=slurm_options
            )
            if queued:
                print(f"{len(queued)} trials were queued or running already: {', '.join(queued)}")
            print(f"submitted job array {job}" if job else "nothing to submit")
            print(f"watch it: bert-jax sweep --status --workdir {folder}")
            return
        local.run(folder, left, shares=shares, attempts=attempts, stall=stall)
    _finish(folder, plan.trials)


def _prepare(plan: Plan) -> None:
    """Token shards, once for each corpus: in most sweeps, one."""
    from bert_jax.commands import prepare
    from bert_jax.data.corpus.open import corpus_folder

    corpora = {corpus_folder(trial.config): trial.config for trial in plan.trials}
    for config in corpora.values():
        prepare.run(config)


def _finish(folder: Path, trials: Sequence[Trial]) -> None:
    from bert_jax.sweeps import folder as folders
    from bert_jax.sweeps.watch import summary

    states = {trial.name: folders.trial_state(folder, trial) for trial in trials}
    unfinished = [
        f"{name} ({state.reason or state.status})"
        for name, state in states.items()
        if state.status != "finished"
    ]
    if unfinished:
        raise UserError(
            f"{folder}: {summary(folder, trials)}: {'; '.join(unfinished)}. See {folder}/logs; the same command tries"
            " them again, `bert-jax report` shows the others"
        )
    print(f"{folder}: {summary(folder, trials)}. Next: bert-jax report {folder}")


def status(folder: Path) -> None:
    """Prints where the trials of `folder` stand."""
    from rich.console import Console

    from bert_jax.sweeps import watch
    from bert_jax.sweeps.folder import read_sweep

    console = Console(highlight=False)
    console.print(watch.table(folder, read_sweep(folder).trials), soft_wrap=not console.is_terminal)


def show(plan: Plan) -> None:
    """Prints what the sweep would run."""
    from bert_jax.config.phases import token_slots
    from bert_jax.console import table

    sweep = plan.sweep
    rows = {"question": sweep.question, "base": sweep.base, "budget": f"{sweep.tokens:,} tokens a trial"}
    for arm in sweep.arms:
        config = next(trial.config for trial in plan.trials if trial.arm == arm.name)
        values = ", ".join(f"{key}={value}" for key, value in arm.values.items()) or "as the base"
        steps, spent = config.train.steps, token_slots(config)
        mark = " (baseline)" if arm.name == sweep.baseline else ""
        rows[f"arm {arm.name}{mark}"] = f"{values}; {steps:,} steps, {spent:,} tokens"
    rows |= {"seeds": ", ".join(map(str, sweep.seeds)), "probes": ", ".join(sweep.probes)}
    rows["trials"] = f"{len(plan.trials)}: {', '.join(trial.name for trial in plan.trials)}"
    table(plan.file, rows)
