"""Trains a small student with the help of a trained teacher; the same command again resumes.

  bert-jax distill --config experiments/distil/distilbert.py --teacher google-bert/bert-base-uncased --workdir runs/student
  bert-jax distill --config experiments/distil/task.py --teacher runs/sst2 --workdir runs/small-sst2

On a prepared corpus (an experiment of pretraining with the group config.distil) the teacher is a masked language model,
or any encoder where no loss reads its predictions; prepare the corpus with the teacher's vocabulary
(config.tokenizer.path=TEACHER). On labelled data (an experiment of fine-tuning with that group) the teacher is a
fine-tuned model, from `bert-jax finetune` or published, and the student begins as --init, or as some of the teacher's
layers (config.distil.student_layers).

Losses add up by their weights: hard (the student's own), soft (predictions at a temperature), hidden_cosine (DistilBERT),
hidden_mse and attention_mse (TinyBERT), attention_kl (MiniLM), query_relation, key_relation and value_relation
(MiniLMv2, which let the two models differ in width and heads). `bert-jax config --config FILE` explains each. All are
means over real tokens, and each is logged on its own.

The teacher is read only: no gradients, no optimizer state, no place in checkpoints; layers and heads that no loss reads are
not computed. The workdir is bound to its parameters, and remembers where they are. What the workdir holds is a student that
evaluate, export, predict, probe and finetune take for a pretrained or a fine-tuned model.

With config.distil.cache what losses read of the teacher is kept on disk, in teachers/ of $BERT_JAX_DATA, and read there: on
labelled data each example is computed once, in pretraining each step once for all runs with the same data, masks, batch size
and seed, such as the students of a sweep. In pretraining the config.distil.cache_top largest logits of a prediction are kept,
and the teacher's probabilities are their softmax alone. A line at the end says what was computed and read.

With --seeds (labelled data), one run a seed in workdir/seedN; a table ends with mean, deviation and 95 % interval.
Exit status: 0 done, 1 failure (of one seed: after the others), 2 bad usage or configuration, 128 + signal when stopped
(saved first).
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from bert_jax import config as configs
from bert_jax.commands import add_config_argument, add_process_arguments, experiment_words
from bert_jax.commands.finetune import parse_seeds, show
from bert_jax.config import DistilRun, FinetuneConfig, PretrainConfig
from bert_jax.errors import UsageError
from bert_jax.training import processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument("--workdir", required=True, type=Path, help="folder of the run, new or to resume")
    parser.add_argument(
        "--teacher",
        action="append",
        default=[],
        metavar="MODEL",
        help="the model to learn from: a workdir, an export, a Hugging Face directory, a TF1 checkpoint, or the id of a model"
        " of the hub. Given several times, for config.distil.soft alone, their predictions are averaged. A run that"
        " resumes needs none",
    )
    parser.add_argument(
        "--init", metavar="MODEL", help="the model that the student begins as; of a corpus, without it, fresh"
    )
    parser.add_argument(
        "--seeds", type=parse_seeds, metavar="N,N", help="labelled data: a run for each of these seeds"
    )
    add_process_arguments(parser)


def main(args: argparse.Namespace) -> None:
    spec = processes.spec_from_flags(args.coordinator, args.processes, args.process_id)
    config = configs.load(args.config, args.overrides, kind=DistilRun)
    words = ["bert-jax", "distill", "--workdir", str(args.workdir)]
    words += ["--init", args.init] if args.init else []
    words += [word for teacher in args.teacher for word in ("--teacher", teacher)]
    words += ["--seeds", ",".join(map(str, args.seeds))] if args.seeds else []
    experiment = experiment_words(args)
    command = f"{shlex.join(words)} --config {experiment}"
    processes.start(spec)
    run(
        config, args.workdir, teachers=args.teacher, init=args.init, seeds=args.seeds,
        experiment=experiment, command=command,
    )  # fmt: skip


def run(
    config: DistilRun,
    workdir: Path,
    *,
    teachers: Sequence[str | Path] = (),
    init: str | Path | None = None,
    seeds: tuple[int, ...] = (),
    experiment: str = "FILE",
    command: str = "the same command",
) -> None:
    """`bert_jax.tasks.distill.distill`, once or for every seed, and in the first process a table of how it ended."""
    from bert_jax.inspection.ending import show_ending
    from bert_jax.tasks.distill import distill

    def one(config: DistilRun, folder: Path) -> None:
        distill(config, folder, teachers=teachers, init=init, experiment=experiment, command=command)

    if isinstance(config, FinetuneConfig):
        return show(one, config, workdir, seeds=seeds)  # type: ignore[arg-type]
    if seeds:
        raise UsageError(
            "--seeds goes with labelled data: start a run, or a sweep, for each seed of a corpus"
        )
    assert isinstance(config, PretrainConfig)
    one(config, workdir)  # type: ignore[arg-type]
    if processes.is_first():
        show_ending(workdir, config)
