"""Runs a sweep: every variant of an experiment with every seed, each for the same budget of tokens, into one folder.

  bert-jax sweep experiments/sweeps/nsp_vs_sop.py:tiny --workdir S --config.data.path='corpus/*.txt'
  bert-jax sweep --status --workdir S
  bert-jax report S

FILE defines the question, the base experiment, named variants, seeds, the budget, and the probes that score each
trial; FILE:SIZE selects one of its sizes (full, the default, or tiny). Variants with values of config.distil are
distilled, from the teacher that FILE or --teacher names; others are pretrained. All values are checked before anything
runs, and the text is prepared once. The same command again skips finished trials, resumes interrupted ones and runs
failed ones again; variants and seeds may be added to the file.

Executors:
  local      on this machine, --jobs at a time, each on some of its GPUs, TPU chips or cores; a live table
  slurm      one job array; the options in --slurm go to sbatch. Returns once submitted; --status shows progress
  commands   prints one line of shell for each unfinished trial, for any other scheduler

Ctrl-C once saves the running trials; twice kills them.
Exit status: 0 all trials finished (slurm: submitted), 1 some did not, 2 bad usage or a faulty sweep, 128 + signal when
stopped.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from bert_jax.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", nargs="?", metavar="FILE", help="sweep file with get_sweep(); FILE:SIZE")
    add("--workdir", required=True, type=Path, metavar="S", help="folder of the sweep")
    add(
        "--executor", choices=("local", "slurm", "commands"), default="local", help="see above; default local"
    )
    add("--jobs", type=int, metavar="N", help="trials at a time (default: a GPU each or 1; slurm: no limit)")
    add("--attempts", type=int, default=3, metavar="N", help="attempts at a trial that fails (default 3)")
    add(
        "--stall",
        type=float,
        default=60,
        metavar="MINUTES",
        help="local: a trial that logs nothing for this long is killed and counts as failed (default 60)",
    )
    add("--slurm", default="", metavar="OPTIONS", help='for sbatch: "--partition=gpu --gres=gpu:1"')
    add("--tokens", type=_whole_number, metavar="N", help="budget of a trial, instead of the file's: 5e6")
    add("--seeds", type=_seeds, metavar="N,N", help="seeds, instead of the file's: 0,1,2,3,4")
    add(
        "--teacher",
        metavar="MODEL",
        help="model that trials of distillation learn from, instead of the file's: a directory or the id of a model of"
        " the hub",
    )
    add("--list", action="store_true", help="check the sweep and print its trials; runs nothing")
    add("--status", action="store_true", help="print the states of the trials in S; runs nothing")


def main(args: argparse.Namespace) -> None:
    if args.status and (args.file or args.overrides):
        raise UsageError("--status reads S alone: leave FILE and --config... out")
    if not args.status and not args.file:
        raise UsageError("FILE is missing: the sweep to run, such as experiments/sweeps/nsp_vs_sop.py:tiny")
    if args.attempts < 1:
        raise UsageError(f"--attempts {args.attempts} must be >= 1")
    if not args.stall > 0:
        raise UsageError(f"--stall {args.stall} must be > 0 minutes")

    from bert_jax.commands import prepare, probe
    from bert_jax.sweeps import definition, run, slurm, watch

    if args.status:
        return watch.print_status(args.workdir)
    plan = definition.load(
        args.file,
        args.overrides,
        tokens=args.tokens,
        seeds=args.seeds,
        teacher=args.teacher,
        known_probes=probe.PROBES,
    )
    if args.list:
        return run.print_plan(plan)
    return run.run_sweep(
        plan,
        args.workdir,
        prepare=prepare.run,
        executor=args.executor,
        jobs=args.jobs,
        attempts=args.attempts,
        stall=60 * args.stall,
        slurm_options=slurm.parse_options(args.slurm),
    )


def _whole_number(text: str) -> int:
    with contextlib.suppress(ValueError):
        if float(text).is_integer():  # also of 5e6
            return int(float(text))
    raise UsageError(f"--tokens {text} must be a whole number")


def _seeds(text: str) -> tuple[int, ...]:
    seeds = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in seeds):
        raise UsageError(f"--seeds {text} must be whole numbers with commas between: 0,1,2")
    return tuple(map(int, seeds))
