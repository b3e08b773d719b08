"""Measures preparation: text and tokens a second, and memory, on a sample of the configured text.

Each measurement is a fresh process that reads, cleans, cuts, encodes and writes the sample, start of worker
processes included. The vocabulary is made before. Beside it, the `tokenizers` library alone encodes lines of the same
text on one thread.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bert_jax.config import Config, resolve
from bert_jax.errors import UserError

_SAMPLE_BYTES = 32 * 10**6
_LIBRARY_BYTES = 4 * 10**6
_BLOCK_BYTES = 2**21  # smaller than usual, so that the sample is work for many processes


def run(config: Config, *, repeats: int, processes: int | None) -> dict[str, Any]:
    """Measures and prints; medians of `repeats`. processes: None: one for each core.

    Text is counted in MB (10^6 bytes of UTF-8, before cleaning).
    """
    from bert_jax.commands.bench import _print

    several = processes or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        megabytes = _write_sample(config, folder / "sample.jsonl") / 1e6
        sample = _over_sample(config, folder)
        results: dict[str, list[dict[str, float]]] = {"one": [], "several": [], "library": []}
        for repeat in range(repeats):
            results["one"].append(_measured("prepare", sample, folder / f"one{repeat}", 1))
            if several > 1:
                results["several"].append(_measured("prepare", sample, folder / f"several{repeat}", several))
            results["library"].append(_measured("library", sample, folder, 1))

    def median(contestant: str, key: str) -> float:
        return statistics.median(result[key] for result in results[contestant])

    speed = megabytes / median("one", "seconds")
    library = median("library", "mb_per_s")
    values: dict[str, Any] = {
        "tokenizer": f"{config.tokenizer.kind}, {config.tokenizer.vocab_size:,} entries",
        "sample_mb": megabytes,
        "mb_per_s": speed,
        "tokens_per_s": median("one", "tokens") / median("one", "seconds"),
        "peak_memory_mib": median("one", "peak_mib"),
    }
    if several > 1:
        values[f"mb_per_s_{several}_processes"] = megabytes / median("several", "seconds")
        values[f"peak_memory_mib_{several}_processes"] = median("several", "peak_mib")
    values |= {"tokenizers_mb_per_s": library, "ratio_to_tokenizers": speed / library}
    return _print("preparation", values)


def _write_sample(config: Config, path: Path) -> int:
    """Writes the first documents of the text; returns their bytes."""
    from bert_jax.data.corpus.open import data_root
    from bert_jax.data.sources.open import open_sources

    written = 0
    with path.open("w", encoding="utf-8") as stream:
        for source in open_sources(config.data, cache_dir=data_root(config)):
            for each in source.inputs():
                for block in each.blocks():
                    for document in block.documents(config.data.text_field):
                        stream.write(json.dumps({"text": document.text}, ensure_ascii=False) + "\n")
                        written += len(document.text.encode())
                        if written >= _SAMPLE_BYTES:
                            return written
    if not written:
        raise UserError(f"config.data.path={config.data.path!r} holds no text to measure with")
    return written


def _over_sample(config: Config, folder: Path) -> Config:
    """The configuration that prepares the sample with a vocabulary that is there."""
    from bert_jax.data.corpus.prepare import prepare

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


def _measured(what: str, config: Config, folder: Path, processes: int) -> dict[str, float]:
    """Runs `prepare_once` or `library_alone` in a process of its own."""
    values = dataclasses.asdict(config)
    values["data"]["directory"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-m", __name__, what, str(processes)],
        input=json.dumps(values),
        env=os.environ | {"RAYON_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"the measurement failed: {(done.stderr.splitlines() or ['killed'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def prepare_once(config: Config, processes: int) -> dict[str, float]:
    """Prepares the corpus: seconds, tokens, and the peak memory of this process and its workers together."""
    import resource

    from bert_jax.data.corpus.prepare import prepare

    start = time.perf_counter()
    shards, _ = prepare(config, processes=processes, block_bytes=_BLOCK_BYTES)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if processes > 1:
        peak += processes * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # the largest worker's
    return {"seconds": seconds, "tokens": shards.manifest["counts"]["tokens"], "peak_mib": peak / 2**10}


def library_alone(config: Config) -> dict[str, float]:
    """The `tokenizers` library over lines of the sample."""
    from bert_jax.text import tokenizer
    from bert_jax.text.cleaning import clean_lines

    lines: list[str] = []
    total = 0
    with Path(config.data.path).open(encoding="utf-8") as stream:
        for row in stream:
            for line in clean_lines(json.loads(row)["text"], config.cleaning, Counter()):
                lines.append(line)
                total += len(line.encode())
            if total >= _LIBRARY_BYTES:
                break
    backend = tokenizer.load(config.tokenizer.path, lowercase=config.tokenizer.lowercase).backend
    start = time.perf_counter()
    for first in range(0, len(lines), 10_000):
        backend.encode_batch_fast(lines[first : first + 10_000], add_special_tokens=False)
    return {"mb_per_s": total / 1e6 / (time.perf_counter() - start)}


if __name__ == "__main__":
    _config = resolve(json.load(sys.stdin))
    if sys.argv[1] == "library":
        print(json.dumps(library_alone(_config)))
    else:
        print(json.dumps(prepare_once(_config, int(sys.argv[2]))))
