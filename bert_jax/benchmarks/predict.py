"""Measures `predict`: texts a second through a model with its tokenizer, results as JSON objects."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from bert_jax.benchmarks import huggingface
from bert_jax.benchmarks.huggingface_tasks import classifier, embedder
from bert_jax.benchmarks.timing import seconds_of
from bert_jax.errors import UsageError
from bert_jax.interop.save import save_hf
from bert_jax.prediction.inputs import Row
from bert_jax.prediction.rows import predictions

Task = Literal["embed", "classify"]


def measure(
    model: Any, task: Task, texts: Sequence[str], *, repeats: int, baseline: Literal["hf"] | None = None
) -> dict[str, Any]:
    """Texts a second, compilation left out: the median of `repeats` passes over all `texts`.

    baseline: hf embeds as sentence-transformers does (sorted by length, batches of 32, its default), or classifies by
    Hugging Face's pipeline in batches of 32, in turns with ours; adds the ratio, and the largest difference of a
    number that both give.

    Args:
      model: a `bert_jax.Model`.

    Raises:
      UsageError: no text.
      UserError: the model cannot do the task, or the baseline is not installed.
    """
    if not texts:
        raise UsageError("no text to measure on: give --input FILE with one text a line")
    calls: dict[str, Callable[[], np.ndarray]] = {"native": lambda: _native(model, task, texts)}
    with tempfile.TemporaryDirectory(prefix="bert_jax-") as folder:
        if baseline:
            huggingface.installed()
            out = Path(folder) / "hf"
            save_hf(out, jax.device_get(model.params), config=model.config, tokenizer=model.tokenizer)
            make = embedder if task == "embed" else classifier
            theirs = make(out, batch_size=32)
            calls["hf"] = lambda: theirs(texts)
        results = {name: call() for name, call in calls.items()}  # compiles, and fills caches
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(repeats):
            for name, call in calls.items():
                seconds[name].append(seconds_of(call))
    rates = {name: len(texts) / statistics.median(each) for name, each in seconds.items()}
    values: dict[str, Any] = {
        "device": jax.devices()[0].device_kind,
        "task": task,
        "texts": len(texts),
        "dtype": model.config.dtype,
        **{f"{name}_texts_per_s": rate for name, rate in rates.items()},
    }
    if baseline:
        values["ratio"] = rates["native"] / rates["hf"]
        values["largest_difference"] = float(np.abs(results["native"] - results["hf"]).max())
    return values


def _native(model: Any, task: Task, texts: Sequence[str]) -> np.ndarray:
    """Vectors, or the probability of the most probable class, of each text."""
    found = predictions(model, task, (Row(text) for text in texts))
    if task == "embed":
        return np.array([one["vector"] for one in found])
    return np.array([max(one["probabilities"].values()) for one in found])
