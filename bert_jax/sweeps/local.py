"""Runs the trials of a sweep on this machine, several at a time, each in a slot: some of its devices."""

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

from bert_jax import signals
from bert_jax.errors import Interrupted, UsageError, summary
from bert_jax.sweeps import trials as records
from bert_jax.sweeps.definition import Trial
from bert_jax.sweeps.watch import Watch

_POLL = 0.25  # seconds
_CACHE = "JAX_COMPILATION_CACHE_DIR"


@dataclasses.dataclass(frozen=True)
class Slot:
    """The devices that one trial at a time runs on."""

    environment: Mapping[str, str]
    """variables that make the devices visible to the trial"""
    cores: frozenset[int] | None = None
    """None: all of them"""


def slots(jobs: int | None, *, machine: Machine | None = None) -> tuple[Slot, ...]:
    """The machine divided into `jobs` slots; None: a slot for each GPU, else one.

    GPUs are dealt out; with more jobs than GPUs several trials run on one GPU. Of TPU chips a trial gets one or all.
    On a machine with neither the cores are dealt out: small models use two cores better apart than together.

    Raises:
      UsageError: the machine cannot be divided into so many.
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
            Slot({"CUDA_VISIBLE_DEVICES": ",".join(gpus[job % len(gpus) :: jobs]), **memory})
            for job in range(jobs)
        )
    if chips:
        if jobs not in (1, chips):
            raise UsageError(f"--jobs {jobs} must be 1 (all chips a trial) or {chips} (one chip a trial)")
        one = {"TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
        return tuple(
            Slot({**one, "TPU_VISIBLE_CHIPS": str(chip)} if jobs > 1 else {}) for chip in range(jobs)
        )
    if jobs > len(cores):
        raise UsageError(f"--jobs {jobs} must be <= {len(cores)}, the cores of this machine")
    return tuple(Slot({}, frozenset(cores[job::jobs]) if jobs > 1 else None) for job in range(jobs))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """The devices that trials are spread over."""

    gpus: tuple[str, ...] = ()
    tpu_chips: int = 0
    cores: tuple[int, ...] = (0,)

    @classmethod
    def this(cls) -> Machine:
        """This machine, found without starting JAX, which would occupy the devices."""
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
    slot: Slot
    process: subprocess.Popen
    changed: float
    """when its metrics last changed, on the monotonic clock"""
    written: float = 0.0
    """modification time of the metrics then"""
    end_reason: str = ""
    """why this executor sent it a signal"""


def command(folder: Path, trial: Trial) -> list[str]:
    """The command that runs one trial, on any machine."""
    return [sys.executable, "-m", "bert_jax", "trial", str(folder.absolute()), trial.name]


def environment(folder: Path) -> dict[str, str]:
    """The variables of a trial: compiled programs go to the sweep's cache, unless the user has set another."""
    cache = {_CACHE: str(folder.absolute() / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5"}
    return {**os.environ, **({} if _CACHE in os.environ else cache)}


def run(folder: Path, trials: Sequence[Trial], *, slots: Sequence[Slot], attempts: int, stall: float) -> None:
    """Runs `trials` until each is finished or has failed `attempts` times; a trial that fails stops no other.

    Args:
      stall: seconds without a new line of metrics after which a trial counts as stalled and is killed.

    Raises:
      Interrupted: Ctrl-C or SIGTERM; running trials have saved a checkpoint. A second signal kills them.
    """
    queue = collections.deque(trials)
    free = collections.deque(slots)
    failures: collections.Counter[str] = collections.Counter()
    running: list[_Running] = []
    received: list[int] = []
    with (
        signals.handled_by(lambda number, frame: received.append(number)),
        Watch(folder, trials) as watch,
    ):
        try:
            while (queue and not received) or running:
                while queue and free and not received:
                    running.append(_start(folder, queue.popleft(), free.popleft()))
                if received:
                    _end(running, signal.SIGTERM if len(received) == 1 else signal.SIGKILL, "stopped")
                time.sleep(_POLL)
                for one in list(running):
                    _kill_if_stalled(folder, one, stall)
                    if one.process.poll() is None:
                        continue
                    running.remove(one)
                    free.append(one.slot)
                    if _has_failed(folder, one, watch):
                        failures[one.trial.name] += 1
                        if failures[one.trial.name] < attempts and one.process.returncode != 2:
                            queue.append(one.trial)
                watch.update()
        finally:
            _end(running, signal.SIGKILL, "killed")
    if received:
        raise Interrupted(
            f"stopped by {signal.Signals(received[0]).name}; running trials are saved, the same command resumes them",
            received[0],
        )


def _start(folder: Path, trial: Trial, slot: Slot) -> _Running:
    log = records.log_file(folder, trial)
    with log.open("a", encoding="utf-8") as stream, _cores_limited_to(slot.cores):
        process = subprocess.Popen(
            command(folder, trial),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**environment(folder), **slot.environment, records.PARENT: str(os.getpid())},
            start_new_session=True,  # the terminal's Ctrl-C reaches this process alone, which passes it on once
        )
    return _Running(trial, slot, process, changed=time.monotonic())


@contextlib.contextmanager
def _cores_limited_to(cores: frozenset[int] | None) -> Iterator[None]:
    """Processes started inside run on these cores alone; None: on all."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _kill_if_stalled(folder: Path, one: _Running, stall: float) -> None:
    written = 0.0
    with contextlib.suppress(FileNotFoundError):
        written = (records.workdir(folder, one.trial) / "metrics.jsonl").stat().st_mtime
    now = time.monotonic()
    if written != one.written:
        one.written, one.changed = written, now
    elif now - one.changed > stall and not one.end_reason:
        _end([one], signal.SIGKILL, f"killed: no line of metrics for {stall / 60:.3g} minutes (--stall)")


def _has_failed(folder: Path, one: _Running, watch: Watch) -> bool:
    """Whether a trial that ended counts as failed; records its end if it could not."""
    status = one.process.returncode
    if status == 0:
        return False
    name, log = one.trial.name, records.log_file(folder, one.trial)
    reason = records.trial_state(folder, one.trial).reason
    last = (records.read_attempts(folder, one.trial) or [{}])[-1]
    if "ended" not in last:
        reason = one.end_reason or (_signal_name(-status) if status < 0 else _last_line(log))
        is_fault = status > 0 or one.end_reason not in ("", "stopped")
        end = 1 if is_fault else 128 + max(-status, 0)
        if refused := records.record_end(folder, one.trial, status=end, reason=reason):
            reason += f"; its end cannot be recorded: {summary(refused)}"
        else:
            reason = records.trial_state(folder, one.trial).reason
    if one.end_reason == "stopped":
        return False
    watch.message(f"{name} ended with status {status}: {reason or 'no reason given'} ({log})")
    return True


def _signal_name(number: int) -> str:
    hint = ", perhaps because memory ran out" if number == signal.SIGKILL else ""
    return f"killed by {signal.Signals(number).name}{hint}"


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        last = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")[-1]
        if last:
            return last[-300:]
    return "its log is empty or cannot be read"


def _end(running: Sequence[_Running], number: int, reason: str) -> None:
    """Sends a signal to trials and to every process they started; SIGTERM only once."""
    for one in running:
        if one.process.poll() is None and (not one.end_reason or number == signal.SIGKILL):
            one.end_reason = one.end_reason or reason
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.process.pid, number)
            if number == signal.SIGKILL:
                one.process.wait()
