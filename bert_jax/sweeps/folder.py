"""A sweep's folder S, and where each trial stands, read from what the trial itself left there.

S/sweep.json            the sweep with every trial resolved: trials need nothing else
S/trials/NAME/          an ordinary workdir, with probes.json once the trial is finished
S/attempts/NAME.jsonl   when and where the trial began, and how it ended, again and again
S/logs/NAME.txt         what it printed
S/cache/                compiled programs, which trials of one shape share
S/slurm/                the job array, what it printed, and the numbers of its jobs
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from bert_jax import config as configs
from bert_jax import locks
from bert_jax.errors import ConfigError, UserError
from bert_jax.probes import scores
from bert_jax.sweeps.definition import Arm, Column, Plan, Published, Sweep, Trial
from bert_jax.training.workdir import FREE

SWEEP_FILE = "sweep.json"
_STALE = 900.0
"""seconds: locks of other machines cannot be seen on every file system, so a trial that began on one counts as
running while it logs"""


def workdir(folder: Path, trial: Trial) -> Path:
    return folder / "trials" / trial.name


def log_file(folder: Path, trial: Trial) -> Path:
    return folder / "logs" / f"{trial.name}.txt"


def _attempts_file(folder: Path, trial: Trial) -> Path:
    return folder / "attempts" / f"{trial.name}.jsonl"


def _lock_file(folder: Path, trial: Trial) -> Path:
    return folder / "attempts" / f".{trial.name}.lock"


# ---------------------------------------------------------------------------------------------
# The sweep
# ---------------------------------------------------------------------------------------------


def claim(folder: Path, plan: Plan) -> None:
    """Makes `folder` that of `plan`, or sees that it is: arms and seeds may have been added since.

    Raises:
      UserError: it holds something else.
      ConfigError: it is the folder of another sweep; names what differs.
    """
    if folder.is_dir() and not (folder / SWEEP_FILE).is_file() and any(folder.iterdir()):
        raise UserError(f"--workdir {folder} is not empty and has no {SWEEP_FILE}: choose another folder")
    if (folder / SWEEP_FILE).is_file():
        _refuse_another(folder, plan, read_sweep(folder))
    for name in ("trials", "attempts", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    partial = folder / f"{SWEEP_FILE}.partial"
    partial.write_text(json.dumps(_to_dict(plan), indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / SWEEP_FILE)


def _refuse_another(folder: Path, ours: Plan, theirs: Plan) -> None:
    faults = [
        f"{name}: {now!r} now, {there!r} there"
        for name, now, there in (
            ("tokens", ours.sweep.tokens, theirs.sweep.tokens),
            ("baseline", ours.sweep.baseline, theirs.sweep.baseline),
            ("probes", ours.sweep.probes, theirs.sweep.probes),
        )
        if now != there
    ]
    faults += [f"probed on: {fault}" for fault in _differences(ours.reference, theirs.reference)]
    new = {trial.name: trial for trial in ours.trials}
    for trial in theirs.trials:
        if trial.name not in new:
            faults.append(f"trial {trial.name} is there and not in {ours.file}")
        else:
            found = _differences(new[trial.name].config, trial.config)
            faults += [f"trial {trial.name}: {fault}" for fault in found]
    if faults:
        shown = [f"  {fault}" for fault in faults[:20]]
        shown += [f"  and {len(faults) - 20} more"] if len(faults) > 20 else []
        raise ConfigError([f"--workdir {folder} is of another sweep, {theirs.file}; choose another:", *shown])


def _differences(ours: configs.Config, theirs: configs.Config) -> list[str]:
    return configs.differences(ours, theirs, ignore=FREE)


def _to_dict(plan: Plan) -> dict[str, Any]:
    return {
        "file": plan.file,
        "sweep": dataclasses.asdict(plan.sweep),
        "reference": configs.to_dict(plan.reference),
        "trials": [
            {
                "name": trial.name,
                "arm": trial.arm,
                "seed": trial.seed,
                "config": configs.to_dict(trial.config),
            }
            for trial in plan.trials
        ],
    }


def read_sweep(folder: Path) -> Plan:
    """The sweep of a folder.

    Raises:
      UserError: there is none.
    """
    file = folder / SWEEP_FILE
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        sweep = saved["sweep"]
        published = sweep["published"]
        if published:
            published = Published(
                source=published["source"],
                columns=tuple(Column(**column) for column in published["columns"]),
                rows={title: tuple(row) for title, row in published["rows"].items()},
                arms=published["arms"],
            )
        tuples = {name: tuple(sweep[name]) for name in ("seeds", "probes", "measures")}
        arms = tuple(Arm(**arm) for arm in sweep["arms"])
        trials = tuple(
            Trial(arm=each["arm"], seed=each["seed"], config=configs.resolve(each["config"]))
            for each in saved["trials"]
        )
        return Plan(
            file=saved["file"],
            sweep=Sweep(**{**sweep, **tuples, "arms": arms, "published": published}),
            reference=configs.resolve(saved["reference"]),
            trials=trials,
        )
    except FileNotFoundError:
        raise UserError(f"{folder} is not the folder of a sweep: it has no {SWEEP_FILE}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not a sweep: {error!r}") from error


# ---------------------------------------------------------------------------------------------
# Trials
# ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def attempt(folder: Path, trial: Trial) -> Iterator[None]:
    """Notes that the trial begins, and how it ends; holds it meanwhile.

    Raises:
      UserError: another process runs it.
    """
    with locks.held(_lock_file(folder, trial), f"trial {trial.name} of {folder}"):
        job = os.environ.get("SLURM_ARRAY_JOB_ID")
        job = f"{job}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if job else os.environ.get("SLURM_JOB_ID")
        _note(folder, trial, began=time.time(), host=os.uname().nodename, process=os.getpid(), job=job)
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OSError):  # a full disk must not hide the reason
                _note(folder, trial, ended=time.time(), **_ending(error))
            raise
        _note(folder, trial, ended=time.time(), status=0, reason="")


def _ending(error: BaseException) -> dict[str, Any]:
    if isinstance(error, KeyboardInterrupt):
        return {"status": 130, "reason": "interrupted"}
    status = error.exit_status if isinstance(error, UserError) else 1
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return {
        "status": status,
        "reason": text if isinstance(error, UserError) else f"{type(error).__name__}: {text}",
    }


def note_end(folder: Path, trial: Trial, *, status: int, reason: str) -> None:
    """Notes the end of a trial that could not do so itself, such as one that was killed."""
    with contextlib.suppress(OSError):
        _note(folder, trial, ended=time.time(), status=status, reason=reason)


def _note(folder: Path, trial: Trial, **what: Any) -> None:
    file = _attempts_file(folder, trial)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(what) + "\n")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialState:
    """Where a trial stands."""

    status: Literal["waiting", "running", "cut", "failed", "finished"]
    """cut: it was stopped or killed and goes on from its checkpoint; failed: it ended by a fault of its own"""
    step: int
    steps: int
    loss: float | None
    tokens_per_s: float | None
    """of its last train line"""
    failures: int
    reason: str
    """of the last end that was not a success"""


def trial_state(folder: Path, trial: Trial) -> TrialState:
    """Where `trial` stands, by its files alone."""
    line = _last_train_line(workdir(folder, trial) / "metrics.jsonl")
    attempts = read_attempts(folder, trial)
    ends = [note for note in attempts if "ended" in note]
    faults = [note for note in ends if 0 < note["status"] < 128]
    last = attempts[-1] if attempts else None
    status: Literal["waiting", "running", "cut", "failed", "finished"] = "waiting"
    if _is_probed(folder, trial):
        status = "finished"
    elif _is_running(folder, trial, last, line):
        status = "running"
    elif last is not None:
        status = "failed" if "ended" in last and last["status"] < 128 and last["status"] else "cut"
    return TrialState(
        status=status,
        step=line.get("step", 0) if status != "waiting" else 0,
        steps=trial.config.train.steps,
        loss=line.get("loss"),
        tokens_per_s=line.get("tokens_per_s"),
        failures=len(faults),
        reason=_reason(last, ends, line) if status in ("cut", "failed") else "",
    )


def _reason(last: dict[str, Any] | None, ends: list[dict[str, Any]], line: dict[str, Any]) -> str:
    text = ends[-1]["reason"] if ends and last is ends[-1] else "killed"
    return text if line else f"{text} (it never logged a step)"


def read_attempts(folder: Path, trial: Trial) -> list[dict[str, Any]]:
    """The notes of a trial in order; a line that a full disk cut short is left out."""
    try:
        lines = _attempts_file(folder, trial).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    notes = []
    for line in lines:
        with contextlib.suppress(ValueError):
            notes.append(json.loads(line))
    return [note for note in notes if isinstance(note, dict) and ("began" in note or "status" in note)]


def _is_probed(folder: Path, trial: Trial) -> bool:
    try:
        saved = json.loads((workdir(folder, trial) / scores.JSON).read_text(encoding="utf-8"))
        return saved["step"] == trial.config.train.steps
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_running(folder: Path, trial: Trial, last: dict[str, Any] | None, line: dict[str, Any]) -> bool:
    if locks.is_held(_lock_file(folder, trial)):
        return True
    if last is None or "ended" in last or last.get("host") == os.uname().nodename:
        return False
    return time.time() - max(last["began"], line.get("written", 0.0)) < _STALE


def _last_train_line(file: Path, tail: int = 16384) -> dict[str, Any]:
    """The last line of training in a metrics.jsonl, and when the file was written; {}: none."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - tail))
            lines = stream.read().decode("utf-8", "replace").split("\n")
            written = os.fstat(stream.fileno()).st_mtime
    except FileNotFoundError:
        return {}
    for text in reversed(lines):
        with contextlib.suppress(ValueError):
            line = json.loads(text)
            if isinstance(line, dict) and line.get("split") == "train":
                return {**line, "written": written}
    return {}
