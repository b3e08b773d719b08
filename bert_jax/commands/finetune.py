"""Fine-tunes a pretrained model on labelled texts into a workdir; the same command again resumes.

  bert-jax finetune --config experiments/tasks/sst2.py --init runs/quickstart --workdir runs/sst2
  bert-jax finetune --config experiments/tasks/text.py --init google-bert/bert-base-uncased --workdir runs/mine \\
      --config.task.train=train.tsv --config.task.eval=dev.tsv

Tasks (config.task.kind): classification (one class of a text or pair), multilabel, regression, tagging (a class of each
word: entities, parts of speech), question_answering (a span of a context), similarity (two texts encoded apart). Data
(config.task.train, config.task.eval): a TFDS split, or a .tsv, .csv, .jsonl, .json, .parquet, .conll or .conllu file;
columns are found by their usual names, or named by config.task.text, text_pair and label. Every evaluation scores the
whole of config.task.eval; the checkpoint with the best config.task.select is kept besides the last. A step has exactly
config.train.batch_size examples, which share rows, so that padding costs little; loss and gradients are those of each
example alone.

--suite runs several tasks, with a grid of values and seeds, from one model: GLUE by --suite glue (or a file like
experiments/suites/glue.py). Its table stands in W/suite.md, beside published rows; W/submission has the files that GLUE's
server takes.

Practice, each a value of the configuration: learning rate, warmup share, epochs; optim.layer_decay and optim.rates;
tuning.frozen, tuning.unfreeze_epochs (gradual unfreezing), tuning.reinitialize; train.patience (early stopping);
tuning.weights=random (what pretraining is worth).

With --seeds, one run a seed in workdir/seedN, one after another, each resumable; a table ends with mean, standard
deviation and 95 % interval. A workdir is opened by `bert-jax predict`, `export` and `evaluate`, and by bert_jax.load.
Exit status: 0 done, 1 failure (of one seed: after the others), 2 bad usage or configuration, 128 + signal when stopped
(saved first).
"""

from __future__ import annotations

import argparse
import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bert_jax import config as configs
from bert_jax.commands import add_config_argument, add_process_arguments, experiment_words
from bert_jax.config import FinetuneConfig
from bert_jax.errors import UsageError, UserError
from bert_jax.training import processes

if TYPE_CHECKING:
    from bert_jax.suites.definition import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser, required=False)
    parser.add_argument(
        "--suite", metavar="NAME_or_FILE", help="instead of --config: several tasks, such as glue"
    )
    parser.add_argument(
        "--only", type=_names, default=(), metavar="TASK,TASK", help="of --suite: these tasks alone"
    )
    parser.add_argument("--workdir", required=True, type=Path, help="folder of the run, new or to resume")
    parser.add_argument(
        "--init",
        metavar="MODEL",
        help="the model to fine-tune: a workdir, an export, a Hugging Face directory, a TF1 checkpoint, or the id of a"
        " model of the hub (google-bert/bert-base-uncased). A run that resumes needs none",
    )
    parser.add_argument(
        "--seeds", type=parse_seeds, metavar="N,N", help="a run for each of these seeds: 0,1,2"
    )
    add_process_arguments(parser)


def main(args: argparse.Namespace) -> None:
    if bool(args.suite) == bool(args.config):
        raise UsageError("give --config FILE, or --suite for several tasks")
    if args.only and not args.suite:
        raise UsageError(f"--only {','.join(args.only)} must go with --suite")
    spec = processes.spec_from_flags(args.coordinator, args.processes, args.process_id)
    words = ["bert-jax", "finetune", "--workdir", str(args.workdir)]
    words += ["--init", args.init] if args.init else []
    words += ["--seeds", ",".join(map(str, args.seeds))] if args.seeds else []
    if args.suite:
        if spec is not None:
            raise UsageError(
                "--suite runs in one process: leave --coordinator, --processes and --process-id out"
            )
        from bert_jax.suites import definition

        plan = definition.load(args.suite, args.overrides, seeds=args.seeds or (), only=args.only)
        words += ["--suite", args.suite, *(["--only", ",".join(args.only)] if args.only else [])]
        return run_suite(plan, args.workdir, init=args.init, command=shlex.join(words))
    config = configs.load(args.config, args.overrides, kind=FinetuneConfig)
    configs.check_command(config, "finetune", args.config)
    command = f"{shlex.join(words)} --config {experiment_words(args)}"
    processes.start(spec)
    run(config, args.workdir, init=args.init, seeds=args.seeds, command=command)


def run(
    config: FinetuneConfig,
    workdir: Path,
    *,
    init: str | Path | None = None,
    seeds: tuple[int, ...] = (),
    command: str = "the same command",
) -> None:
    """`bert_jax.tasks.finetune.finetune`, once or for every seed, and in the first process a table of the scores."""
    from bert_jax.tasks.finetune import finetune

    show(functools.partial(finetune, init=init, command=command), config, workdir, seeds=seeds)


def show(
    one: Callable[[FinetuneConfig, Path], None],
    config: FinetuneConfig,
    workdir: Path,
    *,
    seeds: tuple[int, ...],
) -> None:
    """`one` run in `workdir`, or one for every seed in a folder there, and in the first process a table of the scores."""
    from bert_jax.inspection.finetuned import show_finetuned, show_seeds
    from bert_jax.tasks.seeds import best_scores, over_seeds, spread

    if seeds:
        results = over_seeds(one, config, workdir, seeds=seeds)
        show_seeds(workdir, results, spread)
        if faulty := [result.seed for result in results if result.fault]:
            raise UserError(f"{len(faulty)} of {len(results)} seeds failed: {', '.join(map(str, faulty))}")
        return
    one(config, workdir)
    if processes.is_first():
        show_finetuned(workdir, best_scores(workdir))


def run_suite(plan: Plan, workdir: Path, *, init: str | Path | None, command: str) -> None:
    """Runs and scores a suite, prints and writes its table, and writes the files of its submissions.

    Raises:
      UserError: a run failed; the others are done.
    """
    from bert_jax import api
    from bert_jax.suites import results
    from bert_jax.suites import run as suites

    found = suites.run_suite(plan, workdir, init=init, command=command)
    written = suites.write_submissions(plan, found, workdir / "submission", load=api.load)
    results.show(found, workdir, is_glue=plan.suite.is_glue)
    for path in written:
        print(path)
    if faults := [f"{result.name}: {fault}" for result in found for fault in result.faults]:
        raise UserError(f"{len(faults)} runs failed, the first: {faults[0]}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def parse_seeds(text: str) -> tuple[int, ...]:
    seeds = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in seeds) or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text} must be different whole numbers with commas between: 0,1,2")
    return tuple(map(int, seeds))
