"""Checks an experiment and prints every value with its meaning; a * marks what is not the default.

Needs no device and no data: run it before a job is sent to a queue.
"""

from __future__ import annotations

import argparse

from bert_jax import config as configs
from bert_jax.commands import add_config_argument
from bert_jax.config import PretrainConfig, RunConfig, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)


def main(args: argparse.Namespace) -> None:
    run(configs.load(args.config, args.overrides, kind=RunConfig))


def run(config: RunConfig) -> None:
    """Prints the table and, of pretraining, the model's size."""
    from bert_jax.models.bert import parameter_count

    defaults = {key: value for key, value, _ in describe(type(config)())}
    for key, value, doc in describe(config):
        mark = " " if value == defaults[key] else "*"
        shown = ";".join(map(str, value)) if key == "phases" else str(value)
        print(f"{mark} {key:32} {shown:24} {doc}")
    if isinstance(config, PretrainConfig):
        print(f"\nparameters of the encoder with its pooler: {parameter_count(config.model):,}")
