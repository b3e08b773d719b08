"""Measures one part of the machine at work; prints a table and, last, one JSON object.

step      the training step on synthetic batches of the configured shape: no corpus, no TensorFlow.
          --peer hf runs Hugging Face's PyTorch BertForPreTraining on the same shapes in turns with
          ours and prints the ratio (both forward, backward, clipping and AdamW).
pipeline  rows a second of the input pipeline alone, over the prepared corpus of the configuration; the time to
          the first batch from step 10^6; the share of token slots that hold a token.
          --peer hf runs Hugging Face's DataCollatorForLanguageModeling on rows of the same shape in turns
          with ours: it masks single tokens of rows that are cut and read already.
prepare   text to token shards, with --processes, in a folder of its own.

Quote ratios of one run; absolute times only of an accelerator of your own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from bert_jax.commands import add_config_argument, load_config
from bert_jax.config import Config
from bert_jax.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument("--what", required=True, choices=("step", "pipeline", "prepare"))
    parser.add_argument("--seconds", type=float, default=10.0, help="length of one measurement (default 10)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements; the median counts (default 3)")
    parser.add_argument(
        "--peer", choices=("hf",), help="step, pipeline: measure this beside ours, in the same run"
    )
    parser.add_argument("--processes", type=int, help="prepare: processes (default: one for each core)")


def main(args: argparse.Namespace) -> None:
    if args.peer and args.what == "prepare":
        raise UsageError(f"--peer {args.peer} has no effect with --what {args.what}")
    if args.processes is not None and args.what != "prepare":
        raise UsageError(f"--processes {args.processes} has no effect with --what {args.what}")
    if args.seconds <= 0 or args.repeats < 1:
        raise UsageError(f"--seconds {args.seconds} and --repeats {args.repeats} must be > 0")
    if args.processes is not None and args.processes < 1:
        raise UsageError(f"--processes {args.processes} must be >= 1")
    config = load_config(args)
    if args.peer and args.what == "step" and config.data.packing > 1:
        raise UsageError(
            f"--peer {args.peer} has no packed rows: config.data.packing={config.data.packing} must be 1"
        )
    if args.peer and args.what == "step" and config.objective.name != "mlm":
        raise UsageError(
            f"--peer {args.peer} has no such objective: config.objective.name={config.objective.name!r} must be"
            " 'mlm'"
        )
    if args.what == "step":
        step(config, seconds=args.seconds, repeats=args.repeats, peer=args.peer)
    elif args.what == "pipeline":
        pipeline(config, seconds=args.seconds, repeats=args.repeats, peer=args.peer, experiment=args.config)
    else:
        from bert_jax.benchmarks import prepare as bench_prepare

        bench_prepare.run(config, repeats=args.repeats, processes=args.processes)


def step(config: Config, *, seconds: float, repeats: int, peer: str | None = None) -> dict[str, Any]:
    """Measures the training step; returns and prints the figures."""
    import jax

    from bert_jax import batch as contract
    from bert_jax.tasks.assembly import Assembly
    from bert_jax.training.metrics import flops_per_sequence, peak_flops

    parts = Assembly.of(config)
    state = parts.new_state()
    host_batch = contract.synthetic(config, config.train.batch_size)
    start = time.perf_counter()
    compiled = parts.compile_train(state, host_batch)
    compile_seconds = time.perf_counter() - start
    batch = parts.plan.place(host_batch)

    def ours() -> None:
        nonlocal state
        state, sums = compiled(state, batch)
        jax.block_until_ready(sums)

    contestants: dict[str, Callable[[], None]] = {"ours": ours}
    if peer == "hf":
        from bert_jax.benchmarks.huggingface import torch_step

        contestants["hf"] = torch_step(config, host_batch)
    rates = _in_turns(contestants, seconds=seconds, repeats=repeats)
    rows = {name: rate * config.train.batch_size for name, rate in rates.items()}
    peak, peak_source = peak_flops(jax.devices())
    length = config.data.sequence_length
    values: dict[str, Any] = {
        "device": f"{len(jax.devices())} x {jax.devices()[0].device_kind}",
        "model": config.model.preset,
        "dtype": config.model.dtype,
        "batch": [config.train.batch_size, length],
        "step_ms": 1000 / rates["ours"],
        "sequences_per_s": rows["ours"],
        "tokens_per_s": rows["ours"] * length,
        "mfu": rows["ours"] * flops_per_sequence(config) / peak,
        "mfu_of": f"{peak / 1e12:.4g} TFLOP/s ({peak_source})",
        "compile_s": compile_seconds,
        **_peak_memory(compiled),
    }
    if peer:
        values |= {f"{peer}_sequences_per_s": rows[peer], "ratio": rows["ours"] / rows[peer]}
    return _print("training step", values)


def pipeline(
    config: Config, *, seconds: float, repeats: int, peer: str | None = None, experiment: str = "FILE"
) -> dict[str, Any]:
    """Measures the input pipeline; returns and prints the figures."""
    import numpy as np

    from bert_jax.data.batches.pipeline import Batches
    from bert_jax.data.corpus.open import open_corpus
    from bert_jax.data.instances.index import FIRST

    shards = open_corpus(config, experiment=experiment)
    batches = Batches(shards, config, "train")
    size, length, masking = config.train.batch_size, config.data.sequence_length, config.masking
    seeks = [_seconds(lambda: next(batches.iterate(10**6, 2**31))) for _ in range(max(9, repeats))]
    stream = batches.iterate(0, 2**31)
    contestants: dict[str, Callable[[], Any]] = {"pipeline": lambda: next(stream)}
    if peer == "hf":
        from bert_jax.benchmarks.huggingface import masking_collator

        contestants["hf"] = masking_collator(config, shards.folder, batches.at(0))
    rates = _in_turns(contestants, seconds=seconds, repeats=repeats)
    index = batches.index
    tokens = int((index.segments["length"] + 1).sum(dtype=np.int64)) + int(
        (index.segments["role"] == FIRST).sum()
    )
    values: dict[str, Any] = {
        "objective": config.data.sentence_objective,
        "format": config.data.format,
        "masks": f"{masking.unit}, {masking.mode}",
        "batch": [size, length],
        "rows_in_index": len(index),
        "fill": tokens / (len(index) * length),
        "rows_per_s": rates["pipeline"] * size,
        "tokens_per_s": rates["pipeline"] * size * length,
        "seek_to_step_1e6_ms": 1000 * statistics.median(seeks),
    }
    if peer:
        rows = rates[peer] * size
        values |= {f"{peer}_rows_per_s": rows, "ratio": values["rows_per_s"] / rows}
    return _print("input pipeline", values)


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _in_turns(contestants: dict[str, Callable[[], Any]], *, seconds: float, repeats: int) -> dict[str, float]:
    """Calls a second of each: the median over `repeats` turns of `seconds`, taken one after another so
    that a busy neighbour slows all alike."""
    for call in contestants.values():
        call()  # the first call pays for what later ones find ready
        call()
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, call in contestants.items():
            count, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < seconds:
                call()
                count += 1
            rates[name].append(count / elapsed)
    return {name: statistics.median(each) for name, each in rates.items()}


def _peak_memory(compiled: Any) -> dict[str, float]:
    """Peak bytes on the first device; on CPU, what the compiled step needs besides its arguments."""
    import jax

    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return {"peak_memory_gib": stats["peak_bytes_in_use"] / 2**30}
    analysis = compiled.memory_analysis()
    return {"temporary_memory_gib": analysis.temp_size_in_bytes / 2**30} if analysis else {}


def _print(title: str, values: dict[str, Any]) -> dict[str, Any]:
    from bert_jax.console import table

    table(title, {k: f"{v:,.4g}" if isinstance(v, float) else v for k, v in values.items()})
    print(json.dumps(values))
    return values
