"""Runs the trials of a sweep as one Slurm job array: each task is the command of one trial.

The state of a trial is read from its files. Slurm is asked only which tasks are still queued or running, so that a
sweep that is started again submits none twice; Slurm's accounting is not needed.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bert_jax import atomic, json_file
from bert_jax.errors import UsageError, UserError
from bert_jax.sweeps.definition import Trial

_SCRIPT = """\
#!/usr/bin/env bash
# One trial of the sweep, by the number of the array's task. launch/slurm.sbatch runs it as any command: stopped by
# Slurm, it saves, is queued again and resumes.
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
names=({names})
name="${{names[$SLURM_ARRAY_TASK_ID]}}"
cache={cache}
export PYTHON={python} ATTEMPTS={attempts}
export JAX_COMPILATION_CACHE_DIR="${{JAX_COMPILATION_CACHE_DIR:-$cache}}"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="${{JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:-0.5}}"
exec bash {launcher} trial {folder} "$name" >>{folder}/logs/"$name.txt" 2>&1
"""
_LAUNCHER = Path(__file__).parents[2] / "launch" / "slurm.sbatch"


def parse_options(text: str) -> list[str]:
    """The words of --slurm, split as a shell does.

    Raises:
      UsageError: a quotation is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--slurm {text} must be words as in a shell: {error}") from None


def submit(
    folder: Path, plan_trials: Sequence[Trial], unfinished: Sequence[Trial], *, jobs: int | None, attempts: int,
    options: Sequence[str],
) -> tuple[str | None, list[str]]:  # fmt: skip
    """Submits `unfinished` as one array.

    Args:
      plan_trials: all trials of the sweep; the place of a trial is the number of its task.
      jobs: tasks that may run at once; None: no limit but Slurm's.
      attempts: how often a task runs a trial that fails.
      options: for sbatch, such as --partition=gpu --gres=gpu:1 --time=8:00:00.

    Returns:
      The number of the job (None: nothing to submit), and the trials that were queued or running already.

    Raises:
      UserError: Slurm is not installed, or refuses.
    """
    for program in ("sbatch", "squeue"):
        if shutil.which(program) is None:
            raise UserError(f"--executor slurm needs {program}, which is not on PATH")
    queued = _queued(folder)
    left = [trial for trial in unfinished if trial.name not in queued]
    if not left:
        return None, sorted(queued)
    place = {trial.name: number for number, trial in enumerate(plan_trials)}
    script = _write_script(folder, plan_trials, attempts)
    numbers = ",".join(str(place[trial.name]) for trial in left)
    array = f"--array={numbers}" + (f"%{jobs}" if jobs else "")
    output = f"--output={(folder / 'slurm').absolute()}/%A_%a.txt"
    name = f"--job-name={folder.absolute().name}"
    answer = _output_of("sbatch", "--parsable", array, output, name, *options, str(script))
    job = answer.strip().partition(";")[0]
    with (folder / "slurm" / "jobs.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"job": job, "trials": {place[t.name]: t.name for t in left}}) + "\n")
    return job, sorted(queued)


def _write_script(folder: Path, trials: Sequence[Trial], attempts: int) -> Path:
    if not _LAUNCHER.is_file():
        raise UserError(
            f"--executor slurm needs {_LAUNCHER}: install bert_jax from a checkout with pip install -e"
        )
    (folder / "slurm").mkdir(parents=True, exist_ok=True)
    script = folder / "slurm" / "array.sh"
    text = _SCRIPT.format(
        names=" ".join(shlex.quote(trial.name) for trial in trials),
        python=shlex.quote(sys.executable),
        attempts=attempts,
        cache=shlex.quote(str(folder.absolute() / "cache")),
        launcher=shlex.quote(str(_LAUNCHER)),
        folder=shlex.quote(str(folder.absolute())),
    )
    atomic.write_text(script, text)
    return script.absolute()


def _queued(folder: Path) -> set[str]:
    """The trials whose tasks are queued or running."""
    names: dict[str, str] = {}
    file = folder / "slurm" / "jobs.jsonl"
    if file.is_file():
        for entry in _jobs(file):
            names |= {f"{entry['job']}_{number}": name for number, name in entry["trials"].items()}
    if not names:
        return set()
    known = _output_of("squeue", "--noheader", "--array", "--format=%i").split()
    return {names[task] for task in known if task in names}


def _jobs(file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            entry = json_file.parse(str(line, "utf-8"))
            fault = json_file.fault(entry, {"job": str, "trials": {str: str}})
        except ValueError as error:
            fault = f"not JSON ({error})"
        if fault:
            raise UserError(f"{file}:{number}: {fault}: remove the line")
        yield entry


def _output_of(*words: str) -> str:
    answer = subprocess.run(words, capture_output=True, text=True)
    if answer.returncode:
        reason = (answer.stderr or answer.stdout).strip().split("\n")[0]
        raise UserError(f"{words[0]} refused with status {answer.returncode}: {reason}")
    return answer.stdout
