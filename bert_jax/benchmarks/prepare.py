"""Measures preparation: text and tokens a second, and memory, on a sample of the configured text.

Each measurement is a new process that reads, cleans, cuts, encodes and writes the sample; the start of worker
processes is included, the training of the vocabulary is not. The baseline is the `tokenizers` library alone, which
encodes lines of the same text on one thread.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_jax import hub
from bert_jax.benchmarks.timing import in_a_new_process
from bert_jax.config import PretrainConfig
from bert_jax.data.corpus.open import data_root
from bert_jax.data.corpus.prepare import prepare
from bert_jax.data.sources.open import open_sources
from bert_jax.errors import UserError
from bert_jax.text import tokenizer
from bert_jax.text.cleaning import clean_lines

_SAMPLE_BYTES = 32 * 10**6
_LIBRARY_BYTES = 4 * 10**6
_BLOCK_BYTES = 2**21  # smaller than usual, so that the sample is work for many processes
_ENVIRONMENT = {"RAYON_NUM_THREADS": "1"}  # the tokenizers library would use every core


def measure(config: PretrainConfig, *, repeats: int, processes: int | None) -> dict[str, Any]:
    """MB and tokens a second, and peak memory, with one process and with several: medians of `repeats`.

    MB are 10^6 bytes of UTF-8, before cleaning. processes: None: one for each core.

    Raises:
      UserError: there is no text, or a measuring process was killed.
    """
    several = processes or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        megabytes = _write_sample(config, folder / "sample.jsonl") / 1e6
        sample = _over_sample(config, folder)
        one, many, library = [], [], []
        for repeat in range(repeats):
            one.append(_prepared(sample, folder / f"one{repeat}", processes=1))
            if several > 1:
                many.append(_prepared(sample, folder / f"several{repeat}", processes=several))
            library.append(in_a_new_process(_ENVIRONMENT, tokenizers_alone, sample))

    speed = megabytes / _median(one, "seconds")
    library_speed = statistics.median(library)
    values: dict[str, Any] = {
        "tokenizer": f"{config.tokenizer.kind}, {config.tokenizer.vocab_size:,} entries",
        "sample_mb": megabytes,
        "mb_per_s": speed,
        "tokens_per_s": _median(one, "tokens") / _median(one, "seconds"),
        "peak_memory_mib": _median(one, "peak_mib"),
    }
    if many:
        values[f"mb_per_s_{several}_processes"] = megabytes / _median(many, "seconds")
        values[f"peak_memory_mib_{several}_processes"] = _median(many, "peak_mib")
    return values | {"tokenizers_mb_per_s": library_speed, "ratio_to_tokenizers": speed / library_speed}


def _median(results: list[dict[str, float]], name: str) -> float:
    return statistics.median(result[name] for result in results)


def _write_sample(config: PretrainConfig, path: Path) -> int:
    """Writes the first documents of the text; returns their bytes."""
    written = 0
    with path.open("w", encoding="utf-8") as stream:
        for text in _texts(config):
            stream.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            written += len(text.encode())
            if written >= _SAMPLE_BYTES:
                break
    if not written:
        raise UserError(f"config.data.path={config.data.path!r} has no text to measure with")
    return written


def _texts(config: PretrainConfig) -> Iterator[str]:
    for source in open_sources(config.data, cache_dir=data_root(config)):
        for each in source.inputs():
            for block in each.blocks():
                for document in block.documents(config.data.text_field):
                    yield document.text


def _over_sample(config: PretrainConfig, folder: Path) -> PretrainConfig:
    """The configuration that prepares the sample, with a vocabulary that exists."""
    data = dataclasses.replace(
        config.data,
        path=str(folder / "sample.jsonl"),
        weights=(),
        text_field="text",
        directory=str(folder / "vocabulary"),
    )
    config = dataclasses.replace(config, data=data)
    if config.tokenizer.path:
        return config
    shards, _ = prepare(config)
    vocabulary = dataclasses.replace(config.tokenizer, path=str(shards.folder))
    return dataclasses.replace(config, tokenizer=vocabulary)


def _prepared(config: PretrainConfig, folder: Path, *, processes: int) -> dict[str, float]:
    """`prepare_once` into `folder`, in a new process."""
    data = dataclasses.replace(config.data, directory=str(folder))
    return in_a_new_process(_ENVIRONMENT, prepare_once, dataclasses.replace(config, data=data), processes)


def prepare_once(config: PretrainConfig, processes: int) -> dict[str, float]:
    """Prepares the corpus: seconds, tokens, and the peak memory of this process and its workers together."""
    start = time.perf_counter()
    shards, _ = prepare(config, processes=processes, block_bytes=_BLOCK_BYTES)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if processes > 1:
        peak += processes * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # the largest worker's
    return {"seconds": seconds, "tokens": shards.manifest["counts"]["tokens"], "peak_mib": peak / 2**10}


def tokenizers_alone(config: PretrainConfig) -> float:
    """MB a second of the `tokenizers` library over cleaned lines of the sample."""
    lines: list[str] = []
    total = 0
    with Path(config.data.path).open(encoding="utf-8") as stream:
        for document in stream:
            for line in clean_lines(json.loads(document)["text"], config.cleaning, Counter()):
                lines.append(line)
                total += len(line.encode())
            if total >= _LIBRARY_BYTES:
                break
    path = hub.resolve(config.tokenizer.path, tokenizer_only=True)
    backend = tokenizer.load(path, lowercase=config.tokenizer.lowercase).backend
    start = time.perf_counter()
    for first in range(0, len(lines), 10_000):
        backend.encode_batch_fast(lines[first : first + 10_000], add_special_tokens=False)
    return total / 1e6 / (time.perf_counter() - start)
