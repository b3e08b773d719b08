"""What a pretrained encoder is worth to a task: the accuracy of a classifier that is fine-tuned from it."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from bert_jax import config as configs
from bert_jax.config import FinetuneConfig
from bert_jax.errors import UserError
from bert_jax.probes.scores import Score
from bert_jax.tasks.evaluate import evaluate
from bert_jax.tasks.finetune import finetune


def finetuned(workdir: Path, name: str, config: FinetuneConfig, *, step: int) -> Score:
    """Fine-tunes the last checkpoint of `workdir`, that of `step`, in its folder finetuned/NAME-STEP, which a second
    call resumes; the score is accuracy on config.task.eval at the best evaluation.

    Raises:
      UserError: what `finetune` raises.
    """
    folder = workdir / "finetuned" / f"{name}-{step}"
    finetune(config, folder, init=workdir, command="the same command")
    found = evaluate(folder, checkpoint="best")
    right_R = np.array([one.badness == 0 for one in found.judged], np.float64)
    frequent = Counter(one.gold for one in found.judged).most_common(1)[0][1]
    return Score(
        name=f"{name}.accuracy",
        total_R=right_R,
        weight_R=np.ones_like(right_R),
        better="higher",
        chance=frequent / len(right_R),
    )


def settings(tasks: dict[str, FinetuneConfig]) -> dict[str, str]:
    """What decides the fine-tuned scores, by task: a digest of the configuration."""
    return {
        name: hashlib.sha256(repr(configs.to_dict(config)).encode()).hexdigest()[:16]
        for name, config in tasks.items()
    }


def is_last(step: int, last: int, names: tuple[str, ...]) -> None:
    """Raises:
    UserError: the checkpoint is not the last one, which is what fine-tuning begins with.
    """
    if step != last:
        raise UserError(
            f"--finetune {names[0]}: begins with the last checkpoint, of step {last}: --checkpoint {step} must be left out"
        )
