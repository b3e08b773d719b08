"""Trains an encoder on a prepared corpus into a workdir; the same command again resumes.

A workdir holds config.json, metrics.jsonl, tensorboard/, checkpoints/ (the latest few and the best),
the tokenizer's files, loss.png and, with --init, init.json. SIGTERM or Ctrl-C saves first and says how
to resume; a run that was killed resumes from its last checkpoint and ends with the same parameters, bit
for bit. With config.phases, parts of the run have row lengths, batch sizes or learning rates of their own.

Several processes, each with its own devices, train one model when all run this command: started by srun, on the
hosts of a TPU pod, as an indexed Job of Kubernetes, or with the flags --coordinator, --processes and
--process-id. The workdir must then be on a file system that all of them share: process 0 writes it, each its
part of the checkpoints. The number of processes may change when the run resumes. If one of them stops, dies or
is silent for config.parallel.timeout seconds, all end.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from bert_jax import config as configs
from bert_jax.commands import add_config_argument, add_process_arguments, experiment_words, load_config
from bert_jax.config import PretrainConfig
from bert_jax.training import processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument("--workdir", required=True, type=Path, help="folder of the run, new or to resume")
    parser.add_argument(
        "--init",
        metavar="DIR_or_ID",
        help="begin with the parameters of this model, and not with fresh ones: a workdir, an export, a Hugging"
        " Face directory or a google-research TF1 checkpoint, or a model id of the Hugging Face hub (ID@REVISION for"
        " a branch, tag or commit; the run keeps the commit that it began with). Its layers must be the experiment's, or smaller"
        " with --config.init.growth=tile; vocabulary (matched by token) and position table may be larger or smaller. What was taken is printed and kept"
        " in init.json; a run that resumes needs no --init. With config.objective.name=rtd: the workdir of such"
        " a run, of which both encoders are taken, or any model, as the discriminator, with --init-generator",
    )
    parser.add_argument(
        "--init-generator",
        metavar="DIR_or_ID",
        help="with config.objective.name=rtd and an --init that has no generator: the model to begin the generator"
        " with. Its sizes must be those that config.objective.generator_width and generator_depth give",
    )
    add_process_arguments(parser)


def main(args: argparse.Namespace) -> None:
    spec = processes.spec_from_flags(args.coordinator, args.processes, args.process_id)
    config = load_config(args)
    configs.check_command(config, "pretrain", args.config)
    from bert_jax.tasks.choose import task_of
    from bert_jax.tasks.initialize import check_flags, check_growth
    from bert_jax.training.workdir import is_workdir

    # before others are waited for
    check_flags(task_of(config), args.init, args.init_generator)
    check_growth(config, has_source=args.init is not None or is_workdir(args.workdir))
    processes.start(spec)
    words = experiment_words(args)
    run(
        config,
        args.workdir,
        init=args.init,
        init_generator=args.init_generator,
        experiment=words,
        command=f"bert-jax pretrain --config {words} --workdir {shlex.quote(str(args.workdir))}",
    )


def run(
    config: PretrainConfig,
    workdir: Path,
    *,
    init: str | Path | None = None,
    init_generator: str | Path | None = None,
    experiment: str = "FILE",
    command: str = "the same command",
) -> None:
    """`bert_jax.pretrain`, and in the first process a picture of the curves and a table of how it ended."""
    from bert_jax.inspection.ending import show_ending
    from bert_jax.tasks.run import pretrain

    pretrain(
        config,
        workdir,
        init=init,
        init_generator=init_generator,
        experiment=experiment,
        command=command,
    )
    if processes.is_first():
        show_ending(workdir, config)
