"""Reads the text of an experiment, trains or loads its vocabulary, and writes token shards.

The corpus gets a folder of its own in config.data.directory (default $BERT_JAX_DATA, else ~/.cache/bert_jax), named by
everything that decides its tokens, so experiments that differ in other things share it. A prepared corpus is found
again, its checksums are compared, and nothing is written.

Work that was stopped or killed is kept beside it, in FOLDER.partial: the same command continues from there. The corpus
is the same, byte for byte, for any number of processes and on Apache Beam.

  bert-jax prepare --config X --beam                                        Beam's own runner on this machine
  bert-jax prepare --config X --beam="--runner=FlinkRunner --flink_master=HOST:8081"

Beam's workers need this package, the text, and config.data.directory on a file system that all of them and
this machine share.
"""

from __future__ import annotations

import argparse
import time
from types import FrameType
from typing import Any

from bert_jax import signals
from bert_jax.commands import add_config_argument, load_config
from bert_jax.config import PretrainConfig
from bert_jax.errors import Interrupted, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="processes that work on the text (default: one per core)",
    )
    parser.add_argument(
        "--beam",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help="run on Apache Beam, with these pipeline options (see above)",
    )


def main(args: argparse.Namespace) -> None:
    if args.beam is not None and args.processes is not None:
        raise UsageError("--processes has no effect with --beam: its options say how many workers there are")
    if args.processes is not None and args.processes < 1:
        raise UsageError(f"--processes {args.processes} must be >= 1")
    run(load_config(args), processes=args.processes, beam=args.beam)


def run(config: PretrainConfig, *, processes: int | None = None, beam: str | None = None) -> None:
    """Prepares the corpus and prints what is in it.

    processes: None: one per core. beam: pipeline options as on a command line, to run on Apache Beam.
    """
    from bert_jax.console import table
    from bert_jax.data.cores import usable_cores
    from bert_jax.data.corpus.beam import BeamEngine
    from bert_jax.data.corpus.open import corpus_folder
    from bert_jax.data.corpus.prepare import prepare

    def stop(number: int, frame: FrameType | None) -> None:
        kept = f"{corpus_folder(config)}.partial"
        raise Interrupted(
            f"stopped; what is done is kept in {kept}: the same command goes on from there", number
        )

    engine = None if beam is None else BeamEngine(beam)
    start = time.perf_counter()
    with signals.handled_by(stop):
        shards, made = prepare(config, processes=processes or usable_cores(), engine=engine)
    seconds = time.perf_counter() - start
    values = {"folder": shards.folder} | _describe(shards.manifest)
    if made:
        speed = shards.manifest["counts"]["characters"] / 1e6 / seconds
        values["speed"] = f"{speed:.1f} million characters per second, {seconds:.0f} s in all"
    table("prepared" if made else "already prepared", values)


_SHOWN = {"documents", "sentences", "tokens", "characters", "unknown", "unused_entries", "documents_read"}


def _describe(manifest: dict[str, Any]) -> dict[str, str]:
    counts = manifest["counts"]
    tokens, unused = counts["tokens"], counts["unused_entries"]
    described = {name: f"{counts[name]:,}" for name in ("documents", "sentences", "tokens")}
    described["characters per token"] = f"{counts['characters'] / tokens:.2f}"
    described["unknown tokens"] = f"{100 * counts['unknown'] / tokens:.3f} %"
    described["vocabulary"] = f"{manifest['vocab_size']:,}" + (f" ({unused} unused)" if unused else "")
    if len(manifest["sources"]) > 1:
        described |= {f"documents of {s['name']}": f"{s['documents']:,}" for s in manifest["sources"]}
    others = {name: n for name, n in counts.items() if n and name not in _SHOWN}
    return described | {name.replace("_", " "): f"{n:,}" for name, n in others.items()}
