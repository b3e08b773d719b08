"""Reads the text of an experiment, trains or loads its vocabulary, and writes token shards.

The corpus goes into a folder of its own under config.data.directory (default $BERT_JAX_DATA, else
~/.cache/bert_jax), named by everything that decides its tokens, so experiments that differ in other
things share it. A prepared corpus is found again, its checksums compared, and nothing is written.

Work that was stopped or killed is kept beside, in FOLDER.partial: the same command goes on from there. The corpus
is the same, byte for byte, for any number of processes and on Apache Beam.

  bert-jax prepare --config X --beam                                        Beam's own runner on this machine
  bert-jax prepare --config X --beam="--runner=FlinkRunner --flink_master=HOST:8081"

Beam's workers need this package, the text, and config.data.directory on a file system that all of them and
this machine share.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import time
from collections.abc import Iterator
from types import FrameType

from bert_jax.commands import add_config_argument, load_config
from bert_jax.config import Config
from bert_jax.errors import Interrupted, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="processes that work on the text (default: one for each core)",
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
    run(
        load_config(args),
        processes=args.processes,
        beam=None if args.beam is None else shlex.split(args.beam),
    )


def run(config: Config, *, processes: int | None = None, beam: list[str] | None = None) -> None:
    """Prepares the corpus and prints what is in it.

    processes: None: one for each core. beam: pipeline options, if it is to run there.
    """
    from bert_jax.console import table
    from bert_jax.data.corpus.beam import BeamEngine
    from bert_jax.data.corpus.prepare import corpus_folder, prepare

    engine = None if beam is None else BeamEngine(beam)
    start = time.perf_counter()
    with _stopped_with_a_word(f"{corpus_folder(config)}.partial"):
        shards, made = prepare(config, processes=processes or len(os.sched_getaffinity(0)), engine=engine)
    seconds = time.perf_counter() - start
    counts = shards.manifest["counts"]
    tokens, unused = counts["tokens"], counts["unused_entries"]
    rows = {
        "folder": shards.folder,
        "documents": f"{counts['documents']:,}",
        "sentences": f"{counts['sentences']:,}",
        "tokens": f"{tokens:,}",
        "characters a token": f"{counts['characters'] / tokens:.2f}",
        "unknown tokens": f"{100 * counts['unknown'] / tokens:.3f} %",
        "vocabulary": f"{shards.vocab_size:,}" + (f" ({unused} unused)" if unused else ""),
    }
    if len(shards.manifest["sources"]) > 1:
        rows |= {f"documents of {s['name']}": f"{s['documents']:,}" for s in shards.manifest["sources"]}
    rows |= {name.replace("_", " "): f"{n:,}" for name, n in counts.items() if n and name not in _SHOWN}
    if made:
        rows["speed"] = (
            f"{counts['characters'] / 1e6 / seconds:.1f} million characters a second, {seconds:.0f} s in all"
        )
    table("prepared" if made else "already prepared", rows)


_SHOWN = {"documents", "sentences", "tokens", "characters", "unknown", "unused_entries", "documents_read"}


@contextlib.contextmanager
def _stopped_with_a_word(partial: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM stop the work in order, and the last line says how to go on."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(
            f"stopped; what is done is kept in {partial}: the same command goes on from there", number
        )

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
