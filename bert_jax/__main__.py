"""`bert-jax <command>`, the same as `python -m bert_jax <command>`."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from bert_jax import __version__, logs
from bert_jax.commands import split_overrides
from bert_jax.errors import UsageError, exit_status, summary

# Each is a module of bert_jax.commands with `add_arguments(parser)` and `main(args)`. The modules import jax and
# tensorflow inside functions, so that --help and a misspelt option answer at once.
COMMANDS = {
    "config": "check an experiment and print its resolved configuration",
    "prepare": "raw text -> vocabulary and token shards",
    "inspect": "show decoded rows, or report on the corpus, its rows and masks",
    "pretrain": "train an encoder; the same command again resumes",
    "finetune": "train a pretrained model on labelled texts and score it",
    "distill": "train a small student with the help of a teacher",
    "evaluate": "held-out loss and accuracy of a checkpoint",
    "plot": "draw the loss curves of one or more runs",
    "predict": "fill masks or embed sentences with a trained model",
    "augment": "copies of labelled texts with words that a masked language model proposes",
    "average": "the mean of several checkpoints of a run, as a model",
    "export": "write a model for transformers, jax, TensorFlow Serving or this package",
    "probe": "score a checkpoint on held-out text and sentence pairs",
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
    common = _verbosity_options()
    parser = argparse.ArgumentParser(
        prog="bert-jax",
        description="Pretraining of BERT-family encoders in JAX.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"bert-jax {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, description in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=description,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],
        )
        if name == command:
            module = importlib.import_module(f"bert_jax.commands.{name}")
            sub.description = module.__doc__
            module.add_arguments(sub)
    return parser


def _verbosity_options() -> argparse.ArgumentParser:
    """-v and -q, before or after the command. No defaults: the command's would overwrite what came before it."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="log details, the libraries' messages, and tracebacks"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="log errors only; no progress bars")
    return parser


def _verbosity(args: argparse.Namespace) -> logs.Verbosity:
    verbose, quiet = hasattr(args, "verbose"), hasattr(args, "quiet")
    if verbose and quiet:
        raise UsageError("--verbose and --quiet exclude each other: give one of them")
    return "verbose" if verbose else "quiet" if quiet else "normal"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status.

    An error that the user can correct is one line on stderr; with --verbose its traceback comes first. Any other
    exception is a bug and is raised.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    command = next((word for word in argv if word in COMMANDS), None)
    try:
        rest, overrides = split_overrides(argv)
        args = build_parser(command).parse_args(rest)
        args.overrides = overrides
        logs.configure(_verbosity(args))
        importlib.import_module(f"bert_jax.commands.{args.command}").main(args)
        sys.stdout.flush()  # so that what is refused here is an error as any other
    except (
        BaseException
    ) as error:  # of any type: `summary` says which are bugs, or end the program as they should
        text = summary(error)
        if text is None:
            raise
        logging.getLogger("bert_jax").debug("traceback:", exc_info=error)
        _drop_refused_output()
        with contextlib.suppress(OSError):  # the status is told even if the line cannot be
            print(f"bert-jax: {text}", file=sys.stderr)
        return exit_status(error)
    return 0


def _drop_refused_output() -> None:
    """Drops what was printed and a full disk or a closed pipe refuses: the interpreter would try it again at its end, and
    change the exit status."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
