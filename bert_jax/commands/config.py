"""Checks an experiment and prints every value with its meaning; a * marks what is not the default.

Needs no device and no data: run it before a job is sent to a queue.
"""

from __future__ import annotations

import argparse

from bert_jax.commands import add_config_argument, load_config
from bert_jax.config import PretrainConfig, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)


def main(args: argparse.Namespace) -> None:
    run(load_config(args))


def run(config: PretrainConfig) -> None:
    """Prints the table and the model's size."""
    from bert_jax.models.bert import parameter_count

    defaults = {key: value for key, value, _ in describe(PretrainConfig())}
    for key, value, doc in describe(config):
        mark = " " if value == defaults[key] else "*"
        shown = ";".join(map(str, value)) if key == "phases" else str(value)
        print(f"{mark} {key:32} {shown:24} {doc}")
    print(f"\nparameters of the encoder with its pooler: {parameter_count(config.model):,}")
