"""How a fine-tuned run answers questions: with the windows of its configuration, and the threshold that it tuned."""

from __future__ import annotations

from pathlib import Path

from bert_jax.config import FinetuneConfig, RunConfig
from bert_jax.config.finetune import TaskConfig
from bert_jax.tasks.load import choose_checkpoint
from bert_jax.training import workdir as workdirs
from bert_jax.training.metrics import METRICS_FILE, read_metrics


def task_config(directory: Path) -> TaskConfig | None:
    """config.task of a run that learns to answer questions; None: the directory is of no such run."""
    if not workdirs.is_workdir(directory):
        return None
    config = workdirs.read(directory, RunConfig).config
    if not isinstance(config, FinetuneConfig) or config.task.kind != "question_answering":
        return None
    return config.task


def tuned_threshold(workdir: Path, checkpoint: str) -> float | None:
    """The threshold of the best F1 in the evaluation that belongs to a checkpoint: of its step, or the last before it.

    None: no evaluation had questions without an answer.

    Raises:
      UserError: there is no such checkpoint.
    """
    step = choose_checkpoint(workdir, checkpoint)
    found = [
        line["best_f1_threshold"]
        for line in read_metrics(workdir / METRICS_FILE)
        if line["split"] == "eval" and line["step"] <= step and "best_f1_threshold" in line
    ]
    return found[-1] if found else None
