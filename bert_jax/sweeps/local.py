"""Runs the trials of a sweep on this machine, several at a time, each on its share of the devices."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_jax.errors import Interrupted, UsageError
from bert_jax.sweeps import folder as folders
from bert_jax.sweeps.definition import Trial
from bert_jax.sweeps.watch import Watch

_POLL = 0.25  # seconds
_CACHE = "JAX_COMPILATION_CACHE_DIR"


@dataclasses.dataclass(frozen=True)
class Share:
    """What of the machine one trial at a time gets."""

    environment: Mapping[str, str]
    cores: frozenset[int] | None = None
    """None: all of them"""


def shares(jobs: int | None, *, machine: Machine | None = None) -> tuple[Share, ...]:
    """The machine in `jobs` parts; None: a part for each GPU, else one part.

    GPUs are dealt out, several trials to a GPU if there are more trials; of TPU chips each trial gets one or all;
    without either, the cores are dealt out: trials of small models use two cores better apart than together.

    Raises:
      UsageError: the machine cannot be divided so.
    """
    machine = machine or Machine.this()
    gpus, chips, cores = machine.gpus, machine.tpu_chips, machine.cores
    jobs = max(len(gpus), 1) if jobs is None else jobs
    if jobs < 1:
        raise UsageError(f"--jobs {jobs} must be >= 1")
    if gpus:
        together = -(-jobs // len(gpus))
        memory = {} if together == 1 else {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / together:.2f}"}
        return tuple(
            Share({"CUDA_VISIBLE_DEVICES": ",".join(gpus[job % len(gpus) :: jobs]), **memory})
            for job in range(jobs)
        )
    if chips:
        if jobs not in (1, chips):
            raise UsageError(f"--jobs {jobs} must be 1 (all chips a trial) or {chips} (one chip a trial)")
        one = {"TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
        return tuple(
            Share({**one, "TPU_VISIBLE_CHIPS": str(chip)} if jobs > 1 else {}) for chip in range(jobs)
        )
    if jobs > len(cores):
        raise UsageError(f"--jobs {jobs} must be <= {len(cores)}, the cores of this machine")
    return tuple(Share({}, frozenset(cores[job::jobs]) if jobs > 1 else None) for job in range(jobs))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """The devices that trials are spread over."""

    gpus: tuple[str, ...] = ()
    tpu_chips: int = 0
    cores: tuple[int, ...] = (0,)

    @classmethod
    def this(cls) -> Machine:
        """This one, asked without starting JAX, which would take the devices."""
        cores = tuple(sorted(os.sched_getaffinity(0)))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if os.environ.get("JAX_PLATFORMS") == "cpu":
            return cls(cores=cores)
        if visible is not None:
            return cls(gpus=tuple(part for part in visible.split(",") if part), cores=cores)
        chips = len(list(Path("/dev").glob("accel[0-9]*"))) or len(list(Path("/dev/vfio").glob("[0-9]*")))
        listed: Sequence[str] = ()
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            answer = subprocess.run(
                ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
                capture_output=True, text=True, timeout=30, check=True,
            )  # fmt: skip
            listed = answer.stdout.split()
        return cls(gpus=tuple(listed), tpu_chips=0 if listed else chips, cores=cores)


@dataclasses.dataclass
class _Running:
    trial: Trial
    share: Share
    process: subprocess.Popen
    seen: float
    """when its metrics were last seen to change, on the monotonic clock"""
    written: float = 0.0
    """the metrics' time of change then"""
    killed: str = ""
    """why we ended it"""


def command(folder: Path, trial: Trial) -> list[str]:
    """What runs one trial, anywhere."""
    return [sys.executable, "-m", "bert_jax", "trial", str(folder.absolute()), trial.name]


def environment(folder: Path) -> dict[str, str]:
    """Trials of one shape compile once, in the folder's cache, unless the user has one."""
    cache = {_CACHE: str(folder.absolute() / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5"}
    return {**os.environ, **({} if _CACHE in os.environ else cache)}


def run(
    folder: Path, trials: Sequence[Trial], *, shares: Sequence[Share], attempts: int, stall: float
) -> None:
    """Runs `trials` until each is finished or has failed `attempts` times; one bad trial stops no other.

    Args:
      stall: seconds without a new line of metrics after which a trial counts as hung and is killed.

    Raises:
      Interrupted: Ctrl-C or SIGTERM; running trials saved first. A second Ctrl-C kills them.
    """
    queue = collections.deque(trials)
    free = collections.deque(shares)
    failures: collections.Counter[str] = collections.Counter()
    running: list[_Running] = []
    with _Stop() as stop, Watch(folder, trials) as watch:
        try:
            while (queue and not stop.number) or running:
                while queue and free and not stop.number:
                    running.append(_start(folder, queue.popleft(), free.popleft()))
                if stop.number:
                    _end(running, signal.SIGTERM if stop.count == 1 else signal.SIGKILL, "stopped")
                time.sleep(_POLL)
                for one in list(running):
                    _kill_if_hung(folder, one, stall)
                    if one.process.poll() is None:
                        continue
                    running.remove(one)
                    free.append(one.share)
                    if _has_failed(folder, one, watch):
                        failures[one.trial.name] += 1
                        if failures[one.trial.name] < attempts and one.process.returncode != 2:
                            queue.append(one.trial)
                watch.update()
        finally:
            _end(running, signal.SIGKILL, "killed")
    if stop.number:
        raise Interrupted(
            f"stopped by {signal.Signals(stop.number).name}; what ran is saved, the same command goes on",
            stop.number,
        )


def _start(folder: Path, trial: Trial, share: Share) -> _Running:
    log = folders.log_file(folder, trial)
    with log.open("a", encoding="utf-8") as stream, _on(share.cores):
        process = subprocess.Popen(
            command(folder, trial),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**environment(folder), **share.environment},
            start_new_session=True,  # the terminal's Ctrl-C is ours alone: we pass it on, once
        )
    return _Running(trial, share, process, seen=time.monotonic())


@contextlib.contextmanager
def _on(cores: frozenset[int] | None) -> Iterator[None]:
    """What is started meanwhile has these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _kill_if_hung(folder: Path, one: _Running, stall: float) -> None:
    written = 0.0
    with contextlib.suppress(FileNotFoundError):
        written = (folders.workdir(folder, one.trial) / "metrics.jsonl").stat().st_mtime
    now = time.monotonic()
    if written != one.written:
        one.written, one.seen = written, now
    elif now - one.seen > stall and not one.killed:
        _end([one], signal.SIGKILL, f"killed: no line of metrics for {stall / 60:.3g} minutes (--stall)")


def _has_failed(folder: Path, one: _Running, watch: Watch) -> bool:
    """Sees to the end of a trial: whether it counts as a failure."""
    status = one.process.returncode
    if status == 0:
        return False
    name, log = one.trial.name, folders.log_file(folder, one.trial)
    state = folders.trial_state(folder, one.trial)
    last = (folders.read_attempts(folder, one.trial) or [{}])[-1]
    if "ended" not in last:  # it could not say why
        reason = one.killed or (_signal_name(-status) if status < 0 else _last_line(log))
        is_fault = status > 0 or one.killed not in ("", "stopped")
        folders.note_end(folder, one.trial, status=1 if is_fault else 128 + max(-status, 0), reason=reason)
        state = folders.trial_state(folder, one.trial)
    if one.killed == "stopped":
        return False
    watch.tell(f"{name} ended with status {status}: {state.reason or 'no reason'} ({log})")
    return True


def _signal_name(number: int) -> str:
    hint = ", perhaps for want of memory" if number == signal.SIGKILL else ""
    return f"killed by {signal.Signals(number).name}{hint}"


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")
        return lines[-1][-300:]
    return "it left no word"


def _end(running: Sequence[_Running], number: int, reason: str) -> None:
    """Sends a signal to trials and all they started, each signal once."""
    for one in running:
        if one.process.poll() is None and (not one.killed or number == signal.SIGKILL):
            one.killed = one.killed or reason
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.process.pid, number)
            if number == signal.SIGKILL:
                one.process.wait()


class _Stop(contextlib.AbstractContextManager):
    """Counts SIGINT and SIGTERM for the loop to see."""

    def __init__(self) -> None:
        self.number = 0
        self.count = 0

    def __enter__(self) -> _Stop:
        self._previous = {
            number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        self.number = self.number or number
        self.count += 1
