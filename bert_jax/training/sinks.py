"""Where metrics go besides metrics.jsonl: TensorBoard, Weights & Biases."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

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
    """Event files."""

    def __init__(self, folder: Path, *, first_step: int):
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


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
        file.write_text(run_id + "\n", encoding="utf-8")
        # One axis for all: evaluations of a step may come after the train line of a later one in a resumed run.
        self._run.define_metric("step")
        for split in ("train", "eval"):
            self._run.define_metric(f"{split}/*", step_metric="step")

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **{f"{split}/{name}": value for name, value in values.items()}})

    def close(self) -> None:
        self._run.finish()
