"""Measures the training step, the input pipeline or preparation; prints a table and, last, one JSON object.

--what step      the training step on synthetic batches of the configured shape: sequences and tokens a second, MFU,
                 memory, compile time. Needs no corpus and no TensorFlow. --baseline hf runs the step of Hugging
                 Face's PyTorch model on the same shapes in turns with it (forward, backward, clipping, AdamW)
                 and adds the ratio.
--what pipeline  rows a second of the input pipeline alone, over the prepared corpus; the time to the first batch
                 from step 10^6; the share of token slots that hold a token. --baseline hf runs Hugging Face's
                 DataCollatorForLanguageModeling, which masks single tokens, on rows of the same shape that are
                 cut and read already.
--what prepare   text to token shards on a sample of the text, with one process and with --processes, in a temporary
                 folder; beside it, the tokenizers library alone.

  bert-jax bench --what step --config experiments/bert_base.py --baseline hf

Quote ratios of one run; absolute times only of a machine that runs nothing else.
Exit status: 0 measured, 1 no corpus or the baseline is not installed, 2 bad usage or configuration.
"""

from __future__ import annotations

import argparse

from bert_jax.commands import add_config_argument, experiment_words, load_config
from bert_jax.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument(
        "--what", required=True, choices=("step", "pipeline", "prepare"), help="what to measure, see above"
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="step, pipeline: length of a measurement (default 10)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="measurements; the median counts (default 3)")
    parser.add_argument(
        "--baseline", choices=("hf",), help="step, pipeline: measure Hugging Face's code in the same run"
    )
    parser.add_argument("--processes", type=int, metavar="N", help="prepare: default one for each core")


def main(args: argparse.Namespace) -> None:
    if args.baseline and args.what == "prepare":
        raise UsageError(f"--baseline {args.baseline} has no effect with --what {args.what}")
    if args.processes is not None and args.what != "prepare":
        raise UsageError(f"--processes {args.processes} has no effect with --what {args.what}")
    if not args.seconds > 0 or args.repeats < 1:
        raise UsageError(f"--seconds {args.seconds} and --repeats {args.repeats} must be > 0")
    if args.processes is not None and args.processes < 1:
        raise UsageError(f"--processes {args.processes} must be >= 1")
    config = load_config(args)

    from bert_jax.benchmarks.timing import print_result

    repeats = {"seconds": args.seconds, "repeats": args.repeats}
    if args.what == "step":
        from bert_jax.benchmarks import step

        print_result("training step", step.measure(config, **repeats, baseline=args.baseline))
    elif args.what == "pipeline":
        from bert_jax.benchmarks import pipeline

        values = pipeline.measure(
            config, **repeats, baseline=args.baseline, experiment=experiment_words(args)
        )
        print_result("input pipeline", values)
    else:
        from bert_jax.benchmarks import prepare

        values = prepare.measure(config, repeats=args.repeats, processes=args.processes)
        print_result("preparation", values)
