"""Where metrics go besides metrics.jsonl: TensorBoard, Weights & Biases."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from bert_jax import atomic
from bert_jax.config import LogConfig
from bert_jax.errors import UserError


class Sink(Protocol):
    """Takes every line of metrics."""

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Values of a "train" or "eval" line."""
        ...

    def close(self) -> None:
        """No more lines come."""
        ...


def open_sinks(log: LogConfig, workdir: Path, *, first_step: int, config: Mapping[str, Any]) -> list[Sink]:
    """The sinks that a run's configuration names.

    Args:
      first_step: the first step that may be written; what an earlier process wrote from there on is dropped.
      config: the run's configuration, for sinks that show it.

    Raises:
      UserError: a sink's library is not installed, or refuses to begin.
    """
    opened: list[Sink] = []
    for name in log.sinks:
        opened.append(
            TensorBoard(workdir / "tensorboard", first_step=first_step)
            if name == "tensorboard"
            else WeightsAndBiases(workdir, log, config)
        )
    return opened


class TensorBoard:
    """An event file, written line by line: tensorboardX's own SummaryWriter writes in a thread, and where that meets a
    full disk the run waits for it forever.

    Raises:
      OSError: the file cannot be written.
    """

    def __init__(self, folder: Path, *, first_step: int):
        from tensorboardX.proto import event_pb2, summary_pb2
        from tensorboardX.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        folder.mkdir(parents=True, exist_ok=True)
        self._file = _next_event_file(folder)
        with atomic.naming(self._file):
            self._records = RecordWriter(str(self._file))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        try:
            self._write(file_version="brain.Event:2")
            self._write(step=first_step, session_log=start)
        except OSError:
            with contextlib.suppress(OSError):
                self._records.close()
            raise

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        named = [
            self._summary.Value(tag=f"{split}/{name}", simple_value=value) for name, value in values.items()
        ]
        self._write(step=step, summary=self._summary(value=named))

    def _write(self, **fields: Any) -> None:
        with atomic.naming(self._file):
            self._records.write(self._event(wall_time=time.time(), **fields).SerializeToString())
            self._records.flush()

    def close(self) -> None:
        with atomic.naming(self._file):
            self._records.close()


def _next_event_file(folder: Path) -> Path:
    """A new file that comes last among those of `folder`: TensorBoard reads them by name, and the clock may go back."""
    begun = [
        int(parts[3])
        for file in folder.glob("events.out.tfevents.*")
        if (parts := file.name.split("."))[3].isdecimal()
    ]
    seconds = max([int(time.time()), *(number + 1 for number in begun)])
    return folder / f"events.out.tfevents.{seconds:010}.{os.uname().nodename}"


class WeightsAndBiases:
    """A run on wandb.ai, or its files in the workdir; a run that resumes goes on under the same id."""

    def __init__(self, workdir: Path, log: LogConfig, config: Mapping[str, Any]):
        try:
            import wandb
        except ImportError as error:
            raise UserError(
                "config.log.sinks=wandb needs Weights & Biases: pip install 'bert_jax[wandb]'"
            ) from error
        file = workdir / "wandb_id"
        run_id = file.read_text(encoding="utf-8").strip() if file.is_file() else secrets.token_hex(4)
        try:
            self._run = wandb.init(
                project=log.wandb_project,
                mode=log.wandb_mode,
                dir=str(workdir),
                name=workdir.name,
                id=run_id,
                resume="allow",
                config=dict(config),
            )
        except wandb.errors.Error as error:
            raise UserError(
                f"config.log.sinks=wandb: {error}; or set config.log.wandb_mode=offline"
            ) from error
        atomic.write_text(file, run_id + "\n")
        # One axis for all: evaluations of a step may come after the train line of a later one in a resumed run.
        self._run.define_metric("step")
        for split in ("train", "eval"):
            self._run.define_metric(f"{split}/*", step_metric="step")

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **{f"{split}/{name}": value for name, value in values.items()}})

    def close(self) -> None:
        self._run.finish()
