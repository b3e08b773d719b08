"""Reads the text of an experiment, trains or loads its vocabulary, and writes token shards.

The corpus goes into a folder of its own under config.data.directory (default $BERT_JAX_DATA, else
~/.cache/bert_jax), named by everything that decides its tokens, so experiments that differ in other
things share it. A prepared corpus is found again, its checksums compared, and nothing is written.
"""

from __future__ import annotations

import argparse

from bert_jax.commands import add_config_argument, load_config
from bert_jax.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)


def main(args: argparse.Namespace) -> None:
    run(load_config(args))


def run(config: Config) -> None:
    """Prepares the corpus and prints what is in it."""
    from bert_jax.commands.console import table
    from bert_jax.data.prepare import prepare

    shards, made = prepare(config)
    counts = shards.manifest["counts"]
    tokens = shards.manifest["tokens"]
    unused = counts["unused_entries"]
    table(
        "prepared" if made else "already prepared",
        {
            "folder": shards.folder,
            "documents": f"{shards.manifest['documents']:,}",
            "sentences": f"{shards.manifest['sentences']:,}",
            "tokens": f"{tokens:,}",
            "characters a token": f"{counts['characters'] / tokens:.2f}",
            "unknown tokens": f"{100 * counts['unknown'] / tokens:.3f} %",
            "vocabulary": f"{shards.vocab_size:,}" + (f" ({unused} unused)" if unused else ""),
        },
    )
