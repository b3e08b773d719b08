"""Measures the input pipeline alone, over the prepared corpus of a configuration."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from bert_jax.benchmarks import huggingface
from bert_jax.benchmarks.timing import calls_per_second, seconds_of
from bert_jax.config import PretrainConfig
from bert_jax.data.batches.pipeline import Batches
from bert_jax.data.corpus.open import open_corpus
from bert_jax.data.instances.index import FIRST, Index

_SEEK_STEP, _LAST_STEP = 10**6, 2**31


def measure(
    config: PretrainConfig,
    *,
    seconds: float,
    repeats: int,
    baseline: Literal["hf"] | None = None,
    experiment: str = "FILE",
) -> dict[str, Any]:
    """Rows a second, the time to the first batch from step 10^6, and the fill of the rows.

    baseline: hf measures Hugging Face's masking collator in turns with it and adds the ratio. experiment: the file to
    name where the corpus is not prepared.

    Raises:
      UserError: no prepared corpus, or the baseline is not installed.
    """
    shards = open_corpus(config, experiment=experiment)
    batches = Batches(shards, config, "train")
    stream = batches.iterate(0, _LAST_STEP)
    calls: dict[str, Callable[[], object]] = {"native": lambda: next(stream)}
    if baseline == "hf":
        calls["hf"] = huggingface.masking_collator(config, shards.folder, batches.at(0))
    seeks = [
        seconds_of(lambda: next(batches.iterate(_SEEK_STEP, _LAST_STEP))) for _ in range(max(9, repeats))
    ]
    rates = calls_per_second(calls, seconds=seconds, repeats=repeats)
    size, length, masking = config.train.batch_size, config.data.sequence_length, config.masking
    values: dict[str, Any] = {
        "objective": config.data.sentence_objective,
        "format": config.data.format,
        "masks": f"{masking.unit}, {masking.mode}",
        "batch": [size, length],
        "rows_in_index": len(batches.index),
        "fill": _tokens(batches.index) / (len(batches.index) * length),
        "rows_per_s": rates["native"] * size,
        "tokens_per_s": rates["native"] * size * length,
        "seek_to_step_1e6_ms": 1000 * statistics.median(seeks),
    }
    if baseline:
        baseline_rows = rates[baseline] * size
        values |= {f"{baseline}_rows_per_s": baseline_rows, "ratio": values["rows_per_s"] / baseline_rows}
    return values


def _tokens(index: Index) -> int:
    """Tokens of all rows, special ones included: each segment ends with [SEP], each example begins with [CLS]."""
    segments = int((index.segments["length"] + 1).sum(dtype=np.int64))
    return segments + int((index.segments["role"] == FIRST).sum())
