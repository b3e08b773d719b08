"""Measures a part of the work; prints a table and, last, one JSON object.

--what step      the training step on synthetic batches of the configured shape: sequences and tokens a second, MFU,
                 memory, compile time. Needs no corpus and no TensorFlow. --baseline hf runs the step of Hugging
                 Face's PyTorch model on the same shapes in turns with it (forward, backward, clipping, AdamW)
                 and adds the ratio.
--what compile   the training step compiled for --target, a machine that need not be here, by its real compiler: what a
                 chip computes, moves and sends, by kind; memory; the least time that this takes, and by which part.
                 --fit finds the largest batch that fits. --baseline hf-flax compiles the step of Hugging Face's last
                 Flax BERT (transformers 4) for the same shapes and adds its counts and the ratio of the bounds.
--what scaling   the same for several numbers of chips, equal rows on each: --target v5e:2x4,v5e:8x8; what chips send and how
                 much of a step that is, at most.
--what pipeline  rows a second of the input pipeline alone, over the prepared corpus; the time to the first batch
                 from step 10^6; the share of token slots that hold a token. --baseline hf runs Hugging Face's
                 DataCollatorForLanguageModeling, which masks single tokens, on rows of the same shape that are
                 cut and read already.
--what prepare   text to token shards on a sample of the text, with one process and with --processes, in a temporary
                 folder; beside it, the tokenizers library alone.
--what finetune  steps a second of fine-tuning --init on the experiment's data, packed and padded. --baseline hf adds
                 Hugging Face's model on the same examples, padded to each batch's longest.
--what latency   one forward pass of the experiment's encoder, --batch rows of --length tokens. --baseline hf adds
                 Hugging Face's model with the same weights.
--what predict   texts a second of `bert-jax predict --task` embed or classify with --model over the lines of --input.
                 --baseline hf adds Hugging Face's pipeline, or embedding as sentence-transformers does it.

  bert-jax bench --what step --config experiments/bert_base.py --baseline hf
  bert-jax bench --what compile --config experiments/bert_base.py --phase 1 --target v5e:2x2 --heaviest 20

Quote ratios of one run; absolute times only of a machine that runs nothing else.
Exit status: 0 measured, 1 no corpus, a baseline or compiler that is not installed, or out of memory, 2 bad usage or
configuration.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bert_jax import config as configs
from bert_jax.commands import add_config_argument, experiment_words, load_config
from bert_jax.config import FinetuneConfig, PretrainConfig
from bert_jax.config.phases import phases
from bert_jax.errors import UsageError

_FLAGS: dict[str, tuple[str, ...]] = {
    "step": ("config", "phase", "repeats", "seconds", "baseline"),
    "compile": ("config", "phase", "target", "fit", "heaviest", "hlo", "html", "baseline"),
    "scaling": ("config", "phase", "target"),
    "pipeline": ("config", "repeats", "seconds", "baseline"),
    "prepare": ("config", "repeats", "processes"),
    "finetune": ("config", "repeats", "seconds", "baseline", "init"),
    "latency": ("config", "repeats", "seconds", "baseline", "batch", "length"),
    "predict": ("repeats", "baseline", "model", "task", "input"),
}
"""The flags of each measurement."""
_OTHER_BASELINE = {"compile": "hf-flax"}
"""What --baseline is called where it is not hf."""
_NEEDED = ("config", "target", "init", "model", "task", "input")
_DEFAULTS = {"seconds": 10.0, "batch": 1, "length": 32, "repeats": 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--what", required=True, choices=tuple(_FLAGS), help="what to measure, see above")
    add_config_argument(parser, required=False)
    parser.add_argument("--repeats", type=int, help="measurements; the median counts (default 3)")
    parser.add_argument("--seconds", type=float, help="length of a measurement (default 10)")
    parser.add_argument(
        "--baseline", choices=("hf", "hf-flax"), help="measure Hugging Face's code in the same run"
    )
    parser.add_argument(
        "--phase",
        type=int,
        metavar="N",
        help="step, compile, scaling: which of the run's phases (default the last)",
    )
    parser.add_argument(
        "--target",
        metavar="CHIP:SHAPE",
        help="compile, scaling: v5e:4x4, v6e:2x2, v5p:2x2x1, h100:8, a100:1, ...",
    )
    parser.add_argument(
        "--fit", action="store_const", const=True, help="compile: the largest batch that fits"
    )
    parser.add_argument(
        "--heaviest", type=int, metavar="N", help="compile: list the instructions that move most"
    )
    parser.add_argument("--hlo", type=Path, metavar="FILE", help="compile: write the optimised module there")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="compile: write the tables there, as a page"
    )
    parser.add_argument("--processes", type=int, metavar="N", help="prepare: default one for each core")
    parser.add_argument("--init", metavar="MODEL", help="finetune: the model to fine-tune, as for `finetune`")
    parser.add_argument("--batch", type=int, metavar="B", help="latency: rows (default 1)")
    parser.add_argument("--length", type=int, metavar="L", help="latency: tokens of a row (default 32)")
    parser.add_argument("--model", metavar="DIR_or_ID", help="predict: the model, as for `predict`")
    parser.add_argument("--task", choices=("embed", "classify"), help="predict: what is computed")
    parser.add_argument("--input", type=Path, metavar="FILE", help="predict: one text a line")


def main(args: argparse.Namespace) -> None:
    options = _options(args)
    from bert_jax.benchmarks.timing import print_result

    title, measure = _MEASURES[args.what]
    print_result(title, measure(args, options))


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """What is given besides --config.

    Raises:
      UsageError: a flag that this measurement does not read, one that it needs, or a value that makes no sense.
    """
    flags = _FLAGS[args.what]
    every = dict.fromkeys(flag for each in _FLAGS.values() for flag in each)
    given = {flag: value for flag in every if (value := getattr(args, flag)) is not None}
    for flag, value in given.items():
        if flag not in flags:
            words = f"--{flag}" if value is True else f"--{flag} {value}"
            raise UsageError(f"{words} has no effect with --what {args.what}")
    known = _OTHER_BASELINE.get(args.what, "hf")
    if given.get("baseline", known) != known:
        raise UsageError(f"--baseline {given['baseline']} must be {known} with --what {args.what}")
    if missing := [flag for flag in flags if flag in _NEEDED and flag not in given]:
        raise UsageError(f"--what {args.what} needs --{missing[0]}")
    options = {flag: given.get(flag, _DEFAULTS.get(flag)) for flag in flags}
    for flag, value in options.items():
        if isinstance(value, int | float) and not value > 0:
            raise UsageError(f"--{flag} {value} must be > 0")
    return {flag: value for flag, value in options.items() if flag not in ("config", "phase", "input")}


def _in_phase(args: argparse.Namespace) -> PretrainConfig:
    """The configuration in the phase that is measured, without phases of its own.

    Raises:
      UsageError: the run has no such phase.
    """
    found = phases(load_config(args))
    if args.phase is not None and args.phase > len(found):
        raise UsageError(f"--phase {args.phase} must be at most {len(found)}, the phases of {args.config}")
    return found[(args.phase or len(found)) - 1].config


def _step(args: argparse.Namespace, options: Mapping[str, Any]) -> dict[str, Any]:
    from bert_jax.benchmarks import step

    return step.measure(_in_phase(args), **options)


def _compile(args: argparse.Namespace, options: Mapping[str, Any]) -> dict[str, Any]:
    from bert_jax.benchmarks import compile as compiling

    return compiling.measure(_in_phase(args), **options)


def _scaling(args: argparse.Namespace, options: Mapping[str, Any]) -> dict[str, Any]:
    from bert_jax.benchmarks import scaling

    return scaling.measure(_in_phase(args), **options)


def _pipeline(args: argparse.Namespace, options: Mapping[str, Any]) -> dict[str, Any]:
    from bert_jax.benchmarks import pipeline

    return pipeline.measure(load_config(args), **options, experiment=experiment_words(args))


def _prepare(args: argparse.Namespace, options: Mapping[str, Any]) -> dict[str, Any]:
    from bert_jax.benchmarks import prepare

    return prepare.measure(load_config(args), **options)


def _finetune(args: argparse.Namespace, options: Mapping[str, Any]) -> dict[str, Any]:
    from bert_jax.benchmarks import finetune

    config = configs.load(args.config, args.overrides, kind=FinetuneConfig)
    return finetune.measure(config, **options)


def _latency(args: argparse.Namespace, options: Mapping[str, Any]) -> dict[str, Any]:
    from bert_jax.benchmarks import latency

    return latency.measure(load_config(args), **options)


def _predict(args: argparse.Namespace, options: Mapping[str, Any]) -> dict[str, Any]:
    from bert_jax import api
    from bert_jax.benchmarks import predict
    from bert_jax.data.sources.texts import texts_of

    values = dict(options)
    return predict.measure(api.load(values.pop("model")), texts=list(texts_of(args.input)), **values)


_MEASURES: dict[str, tuple[str, Callable[[argparse.Namespace, Mapping[str, Any]], dict[str, Any]]]] = {
    "step": ("training step", _step),
    "compile": ("", _compile),  # it draws its own tables
    "scaling": ("", _scaling),
    "pipeline": ("input pipeline", _pipeline),
    "prepare": ("preparation", _prepare),
    "finetune": ("fine-tuning", _finetune),
    "latency": ("latency", _latency),
    "predict": ("prediction", _predict),
}
