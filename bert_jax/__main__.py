"""`bert-jax <command>`, the same as `python -m bert_jax <command>`."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from bert_jax import __version__
from bert_jax.commands import split_overrides
from bert_jax.errors import UserError

# Each is a module of bert_jax.commands with `add_arguments(parser)` and `main(args)`. Modules import
# jax and tensorflow inside `run`, so that --help and a typo answer at once.
COMMANDS = {
    "config": "check an experiment and print its resolved configuration",
    "prepare": "raw text -> vocabulary and token shards",
    "inspect": "show decoded rows, or report on the corpus, its rows and masks",
    "pretrain": "train an encoder; the same command again resumes",
    "evaluate": "held-out loss and accuracy of a checkpoint",
    "plot": "draw the loss curves of one or more runs",
    "predict": "fill masks or embed sentences with a trained model",
    "export": "write a model for transformers, jax, TensorFlow Serving or this package",
    "probe": "score a checkpoint on what it was not trained on, too",
    "sweep": "run an ablation: every variant with every seed",
    "trial": "run one trial of a sweep",
    "report": "tables and plots of a sweep",
    "bench": "measure the training step or the input pipeline",
}

_EPILOG = """\
Any value of a configuration can be set on the command line: --config.optim.learning_rate=2e-4
Exit status: 0 done, 1 failure, 2 bad usage or configuration, 128 + signal when stopped (saved first).

The usual way:
  bert-jax prepare  --config experiments/quickstart.py
  bert-jax pretrain --config experiments/quickstart.py --workdir runs/quickstart
  bert-jax predict  --model runs/quickstart --task fill-mask "The function returns a [MASK] of strings."
"""


def build_parser(command: str | None) -> argparse.ArgumentParser:
    """The parser with every command's summary, and the arguments of `command`."""
    parser = argparse.ArgumentParser(
        prog="bert-jax",
        description="Pretraining of BERT-family encoders in JAX.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bert-jax {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == command:
            module = importlib.import_module(f"bert_jax.commands.{name}")
            sub.description = module.__doc__
            module.add_arguments(sub)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; a fault the user can mend is one line on stderr, never a traceback."""
    _quiet_libraries()
    argv = sys.argv[1:] if argv is None else list(argv)
    command = next((word for word in argv if word in COMMANDS), None)
    try:
        rest, overrides = split_overrides(argv)
        args = build_parser(command).parse_args(rest)
        args.overrides = overrides
        importlib.import_module(f"bert_jax.commands.{args.command}").main(args)
    except UserError as error:
        print(f"bert-jax: {error}", file=sys.stderr)
        return error.exit_status
    except OSError as error:  # a full or read-only disk, a folder one may not write
        place = f": {error.filename}" if error.filename else ""
        print(f"bert-jax: {error.strerror or error}{place}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bert-jax: interrupted", file=sys.stderr)
        return 130
    return 0


def _quiet_libraries() -> None:
    """What TensorFlow and orbax say of their own workings is not news to a user.

    A checkpoint that cannot be written is reported by us, in one line. Orbax logs it too, with its traceback;
    its other tasks, failing alike, are reported by asyncio as exceptions that nobody fetched; and what tensorstore
    still writes then finds orbax's event loop gone, or is never begun.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # unused by the pipeline, but announced at import
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = _unraisablehook
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited", category=RuntimeWarning)


def _unraisablehook(unraisable) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    sys.exit(main())
