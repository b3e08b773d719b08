"""One file a verb: flags -> `run(config, ...)`, which tests call directly.

The only folder that may see both tensorflow and jax.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from bert_jax.config import PretrainConfig, load
from bert_jax.errors import UsageError

_PREFIX = "--config."


def split_overrides(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes `--config.a.b=v` and `--config.a.b v` out of `argv`: (the rest, ["a.b=v", ...])."""
    rest: list[str] = []
    overrides: list[str] = []
    words = iter(argv)
    for word in words:
        if not word.startswith(_PREFIX):
            rest.append(word)
        elif "=" in word:
            overrides.append(word.removeprefix(_PREFIX))
        else:
            value = next(words, None)
            if value is None:
                raise UsageError(f"{word} needs a value: {word}=VALUE")
            overrides.append(f"{word.removeprefix(_PREFIX)}={value}")
    return rest, overrides


def add_config_argument(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument(
        "--config",
        required=required,
        metavar="FILE",
        help="experiment file with get_config(); FILE:ARG passes it an argument."
        " Change any value with --config.GROUP.FIELD=VALUE (`bert-jax config --config FILE` lists them)",
    )


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("several processes", "all three, or none: then as the cluster says")
    group.add_argument(
        "--coordinator", metavar="HOST:PORT", help="where the others reach process 0; a free port"
    )
    group.add_argument("--processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process-id", type=int, metavar="I", help="which this one is, 0 to N - 1")


def load_config(args: argparse.Namespace) -> PretrainConfig:
    """The configuration of `args.config` with the overrides of the command line."""
    return load(args.config, args.overrides)


def experiment_words(args: argparse.Namespace) -> str:
    """What follows `--config` on a command line that means the same configuration: the file and the overrides."""
    return shlex.join([args.config, *(f"{_PREFIX}{text}" for text in args.overrides)])


def refuse_overrides(args: argparse.Namespace, reason: str) -> None:
    """For commands whose configuration is in the workdir: an override there would be ignored."""
    if args.overrides:
        raise UsageError(f"--config.{args.overrides[0]} has no effect here: {reason}")
