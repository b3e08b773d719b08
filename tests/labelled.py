"""A small labelled set and the experiment file of a fine-tuning on it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

WORDS = ["good", "bad", "film", "plot", "the", "was", "."]
REVIEWS = [(f"the {noun} was {word} .", word) for noun in ("film", "plot") for word in ("good", "bad")] * 8


def write(
    folder: Path, rows: Iterable[tuple[str, str]] = REVIEWS, *, kind: str = "FinetuneConfig", **values: Any
) -> Path:
    """Writes train.tsv of (text, label), which is held out too, and experiment.py into `folder`; returns the latter.

    kind: the configuration's class. values: its options, `train__steps=6`.
    """
    data = folder / "train.tsv"
    data.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    values = {"task__train": str(data), "task__eval": str(data), "log__sinks": (), **values}
    options = "".join(f"    config.{key.replace('__', '.')} = {value!r}\n" for key, value in values.items())
    experiment = folder / "experiment.py"
    experiment.write_text(
        f"from bert_jax.config import {kind}, base\n\n\n"
        f"def get_config():\n    config = base({kind})\n{options}    return config\n"
    )
    return experiment
