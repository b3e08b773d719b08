"""The files of a sweep's folder S, and the state of each trial, read from the files that the trial wrote.

S/sweep.json            the sweep with every trial resolved: trials need nothing else
S/trials/NAME/          an ordinary workdir, with probes.json once the trial is finished
S/attempts/NAME.jsonl   for each attempt: when and where it began, and how it ended
S/logs/NAME.txt         what it printed
S/cache/                compiled programs, for all trials of one shape
S/slurm/                the job array, what it printed, and its job numbers
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

from bert_jax import atomic, json_file, locks
from bert_jax.errors import UserError
from bert_jax.probes import scores
from bert_jax.sweeps.definition import Trial

_STALE = 900.0
"""Seconds without a line of metrics after which a trial that began on another machine no longer counts as running:
not every file system shows the locks of other machines."""

PARENT = "BERT_JAX_SWEEP_PROCESS"
"""The variable with the number of the process that runs a sweep on this machine: its trials end when it does."""
_BEGIN = {"began": float}
_END = {"ended": float, "status": float, "reason": str}

Status = Literal["waiting", "running", "interrupted", "failed", "finished"]


def workdir(folder: Path, trial: Trial) -> Path:
    return folder / "trials" / trial.name


def log_file(folder: Path, trial: Trial) -> Path:
    return folder / "logs" / f"{trial.name}.txt"


def _attempts_file(folder: Path, trial: Trial) -> Path:
    return folder / "attempts" / f"{trial.name}.jsonl"


def _lock_file(folder: Path, trial: Trial) -> Path:
    return folder / "attempts" / f".{trial.name}.lock"


@contextlib.contextmanager
def attempt(folder: Path, trial: Trial) -> Iterator[None]:
    """Records that the trial begins, and how it ends; holds its lock meanwhile.

    Raises:
      UserError: another process runs the trial.
    """
    with locks.held(_lock_file(folder, trial), f"trial {trial.name} of {folder}"):
        job = os.environ.get("SLURM_ARRAY_JOB_ID")
        job = f"{job}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if job else os.environ.get("SLURM_JOB_ID")
        _record(folder, trial, began=time.time(), host=os.uname().nodename, process=os.getpid(), job=job)
        since = time.monotonic()
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OSError):  # a full disk must not hide the reason
                _record(folder, trial, ended=time.time(), seconds=time.monotonic() - since, **_end_of(error))
            raise
        _record(folder, trial, ended=time.time(), seconds=time.monotonic() - since, status=0, reason="")


def _end_of(error: BaseException) -> dict[str, Any]:
    if isinstance(error, KeyboardInterrupt):
        return {"status": 130, "reason": "interrupted"}
    status = error.exit_status if isinstance(error, UserError) else 1
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return {
        "status": status,
        "reason": text if isinstance(error, UserError) else f"{type(error).__name__}: {text}",
    }


def record_end(folder: Path, trial: Trial, *, status: int, reason: str) -> OSError | None:
    """Records the end of a trial that could not do so itself, such as one that was killed; returns what refused it."""
    try:
        _record(folder, trial, ended=time.time(), status=status, reason=reason)
    except OSError as error:
        return error
    return None


def _record(folder: Path, trial: Trial, **entry: Any) -> None:
    file = _attempts_file(folder, trial)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic.naming(file), file.open("a", encoding="utf-8") as stream:
        stream.write(f"{_line_end(file)}{json.dumps(entry)}\n")


def _line_end(file: Path) -> str:
    """What ends the last line of `file`, which a full disk may have cut."""
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(0, size - 1))
        return "" if stream.read() in (b"", b"\n") else "\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialState:
    """The state of a trial."""

    status: Status
    """interrupted: it was stopped or killed and resumes from its checkpoint; failed: it ended with an error"""
    step: int
    steps: int
    loss: float | None
    tokens_per_s: float | None
    """of its last train line"""
    failures: int
    reason: str
    """why it failed or was interrupted; empty in other states"""


def trial_state(folder: Path, trial: Trial) -> TrialState:
    """The state of `trial`, from its files alone."""
    line = _last_train_line(workdir(folder, trial) / "metrics.jsonl")
    attempts = read_attempts(folder, trial)
    ends = [entry for entry in attempts if "ended" in entry]
    last = attempts[-1] if attempts else None
    status: Status = "waiting"
    if _is_probed(folder, trial):
        status = "finished"
    elif _is_running(folder, trial, last, line):
        status = "running"
    elif last is not None:
        status = "failed" if "ended" in last and _is_failure(last) else "interrupted"
    return TrialState(
        status=status,
        step=line.get("step", 0) if status != "waiting" else 0,
        steps=trial.config.train.steps,
        loss=line.get("loss"),
        tokens_per_s=line.get("tokens_per_s"),
        failures=sum(map(_is_failure, ends)),
        reason=_reason(last, ends, line) if status in ("interrupted", "failed") else "",
    )


def _is_failure(end: dict[str, Any]) -> bool:
    """Exit statuses from 128 on are signals: the trial was stopped, not at fault."""
    return 0 < end["status"] < 128


def _reason(last: dict[str, Any] | None, ends: list[dict[str, Any]], line: dict[str, Any]) -> str:
    text = ends[-1]["reason"] if ends and last is ends[-1] else "killed"
    return text if line else f"{text} (it never logged a step)"


def read_attempts(folder: Path, trial: Trial) -> list[dict[str, Any]]:
    """What `attempt` and `record_end` wrote, in order, without lines that a full disk truncated."""
    try:
        lines = _attempts_file(folder, trial).read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        with contextlib.suppress(ValueError):
            entries.append(json_file.parse(line))
    return [entry for entry in entries if not all(json_file.fault(entry, form) for form in (_BEGIN, _END))]


def _is_probed(folder: Path, trial: Trial) -> bool:
    try:
        saved = json_file.read(workdir(folder, trial) / scores.JSON, {"step": int})
        return saved["step"] == trial.config.train.steps
    except (OSError, UserError):
        return False


def _is_running(folder: Path, trial: Trial, last: dict[str, Any] | None, line: dict[str, Any]) -> bool:
    if locks.is_held(_lock_file(folder, trial)):
        return True
    if last is None or "ended" in last or last.get("host") == os.uname().nodename:
        return False
    return time.time() - max(last["began"], line.get("written", 0.0)) < _STALE


def _last_train_line(file: Path, tail: int = 16384) -> dict[str, Any]:
    """The last train line in the last `tail` bytes of a metrics.jsonl, and when the file was "written"; {}: none."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - tail))
            lines = stream.read().decode("utf-8", "replace").split("\n")
            written = os.fstat(stream.fileno()).st_mtime
    except FileNotFoundError:
        return {}
    for text in reversed(lines):
        with contextlib.suppress(ValueError):
            line = json_file.parse(text)
            if not json_file.fault(line, {"split": str, "step": int}) and line["split"] == "train":
                return {**line, "written": written}
    return {}
