"""Trains an encoder on a prepared corpus into a workdir; the same command again resumes.

A workdir holds config.json, metrics.jsonl, tensorboard/, checkpoints/ (the latest few and the best),
the tokenizer's files, loss.png and, with --init, init.json. SIGTERM or Ctrl-C saves first and says how
to go on; a run that was killed goes on from its last checkpoint and ends with the same parameters, bit
for bit. With config.data.first_length, rows have that length first and config.data.sequence_length then.

Several processes, each with its own devices, train one model when all run this command: started by srun, on the
hosts of a TPU pod, as an indexed Job of Kubernetes, or with the flags --coordinator, --processes and
--process-id. The workdir must then be on a file system that all of them share: process 0 writes it, each its
part of the checkpoints. The number of processes may change when the run resumes. If one of them stops, dies or
is silent for config.parallel.timeout seconds, all end.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bert_jax.commands import add_config_argument, load_config
from bert_jax.config import Config
from bert_jax.config.phases import Phase, phases
from bert_jax.errors import UsageError
from bert_jax.training.processes import discovery as cluster

if TYPE_CHECKING:
    from bert_jax.data.corpus.shards import TokenShards
    from bert_jax.tasks.assembly import Assembly
    from bert_jax.training.loop import Stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_argument(parser)
    parser.add_argument("--workdir", required=True, type=Path, help="folder of the run, new or to resume")
    parser.add_argument(
        "--init",
        type=Path,
        metavar="DIR",
        help="begin with the parameters of this model, and not with fresh ones: a workdir, our export, a Hugging"
        " Face directory or a google-research TF1 checkpoint. Its layers must be the experiment's; vocabulary"
        " (matched by token) and position table may be larger or smaller. What was taken is printed and kept"
        " in init.json; a run that resumes needs no --init. With config.objective.name=rtd: the workdir of such"
        " a run, of which both encoders are taken, or any model, as the discriminator, with --init-generator",
    )
    parser.add_argument(
        "--init-generator",
        type=Path,
        metavar="DIR",
        help="with config.objective.name=rtd and an --init that has no generator: the model to begin the generator"
        " with. Its sizes must be those that config.objective.generator_width and generator_depth give",
    )

    group = parser.add_argument_group("several processes", "all three, or none: then as the cluster says")
    group.add_argument(
        "--coordinator", metavar="HOST:PORT", help="where the others reach process 0; a free port"
    )
    group.add_argument("--processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process-id", type=int, metavar="I", help="which this one is, 0 to N - 1")


def main(args: argparse.Namespace) -> None:
    flags = cluster.given(args.coordinator, args.processes, args.process_id)
    config = load_config(args)
    _sources(config, args.init, args.init_generator)  # before others are waited for
    from bert_jax.training.processes import session as distributed

    distributed.start(flags)
    words = [f"--config={args.config}", *(f"--config.{text}" for text in args.overrides)]
    command = f"bert-jax pretrain {' '.join(words)} --workdir {args.workdir}"
    run(
        config,
        args.workdir,
        init=args.init,
        init_generator=args.init_generator,
        experiment=args.config,
        command=command,
    )


def run(
    config: Config,
    workdir: Path,
    *,
    init: Path | None = None,
    init_generator: Path | None = None,
    experiment: str = "FILE",
    command: str = "the same command",
) -> None:
    """Trains to `config.train.steps`, resuming what `workdir` holds, and prints how it ended.

    Where `distributed.start` found other processes, all of them call this alike, and are alone when it returns.
    An error that one of them meets ends every one, and no exception is raised.

    init, init_generator: the models whose parameters a new run begins with, as the flags of those names.

    Raises:
      UsageError: the two flags do not fit each other or the objective.
      ConfigError: the devices, the corpus or the workdir do not fit the configuration.
      UserError: no prepared corpus; an `init` that does not fit; a loss that is not finite; a disk that
        cannot be written.
      Interrupted: a signal came; the state was saved.
    """
    given = _sources(config, init, init_generator)
    from bert_jax.training.processes import session as distributed

    with distributed.session(timeout=config.parallel.timeout, checkpoints=workdir / "checkpoints"):
        _train(config, workdir, given, experiment=experiment, command=command)
    if distributed.is_first():
        _finish(workdir, config)


def _train(config: Config, workdir: Path, given: tuple[Path, ...], *, experiment: str, command: str) -> None:
    """What every process of a run does."""
    from bert_jax.data.corpus.open import open_corpus

    shards = open_corpus(config, experiment=experiment)

    from bert_jax.tasks import initialize as initial
    from bert_jax.tasks.assembly import Assembly
    from bert_jax.text import tokenizer as tokenizers
    from bert_jax.training import workdir as workdirs
    from bert_jax.training.checkpoint import Checkpoints
    from bert_jax.training.loop import Run, train
    from bert_jax.training.metrics import MetricsLog, NoLog, peak_flops
    from bert_jax.training.optim import make_schedule
    from bert_jax.training.processes import session as distributed

    parts = Assembly.of(config)
    stages = tuple(_stage(parts, shards, phase) for phase in phases(config))
    tokenizer = tokenizers.load(shards.folder / "tokenizer.json")
    is_first = distributed.is_first()
    # An init that does not fit must not leave a workdir of this config behind.
    is_new = bool(given) and not workdirs.is_workdir(workdir)
    distributed.barrier("looking at the workdir")
    begun = initial.new_state(parts, given, tokenizer) if is_new else None
    with contextlib.ExitStack() as stack:
        if is_first:
            given = stack.enter_context(workdirs.claim(workdir, config, corpus=shards.digest, init=given))
            tokenizer.save(workdir)
        distributed.barrier("claiming the workdir")
        given = given if is_first else workdirs.read_init(workdir)
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep))
        latest = checkpoints.latest()
        distributed.fed("the state to begin with")
        if latest is None:
            state, report = begun or initial.new_state(parts, given, tokenizer)
            if report and is_first:
                initial.tell(report, workdir)
        else:
            state = checkpoints.restore(parts.abstract_state(), latest)
            if is_first:
                print(f"resuming {workdir} at step {latest} of {config.train.steps}", file=sys.stderr)
        lines = MetricsLog(workdir, resume_step=latest) if is_first else NoLog()
        log = stack.enter_context(contextlib.closing(lines))
        if latest is None or latest < config.train.steps:
            job = Run(
                config=config,
                stages=stages,
                objective=parts.objective,
                place=parts.plan.place,
                schedule=make_schedule(config.optim, config.train.steps),
                checkpoints=checkpoints,
                log=log,
                peak_flops=peak_flops(_devices())[0] if is_first else 1.0,
                resume_hint=f"Resume with: {command}",
            )
            train(job, state)


def _sources(config: Config, init: Path | None, init_generator: Path | None) -> tuple[Path, ...]:
    """What both flags name, as a workdir remembers it: whether two are needed, the directories tell."""
    if init_generator is None:
        return () if init is None else (init,)
    flag = f"--init-generator {init_generator}"
    if config.objective.name != "rtd":
        raise UsageError(
            f"{flag} needs config.objective.name=rtd, it is {config.objective.name}: leave it out"
        )
    if init is None:
        raise UsageError(f"{flag} needs --init, the directory of the discriminator")
    return init, init_generator


def _stage(parts: Assembly, shards: TokenShards, phase: Phase) -> Stage:
    """The rows of a phase and what is compiled for them; indexes both splits here and now."""
    from bert_jax.commands.evaluate import evaluation_batches
    from bert_jax.objectives.sums import means
    from bert_jax.training.loop import Stage

    config = phase.config
    parts = parts.at(config)
    evaluate = None
    if config.data.eval_fraction:
        held_out = parts.batches(shards, "eval")
        sums = parts.evaluator(evaluation_batches(held_out, config.train.eval_batches))
        evaluate = lambda params: parts.objective.report(means(sums(params)))  # noqa: E731
    return Stage(
        phase=phase,
        batches=parts.batches(shards, "train").iterate,
        compile=parts.compile_train,
        evaluate=evaluate,
    )


def _devices() -> list:
    import jax

    return jax.devices()


def _finish(workdir: Path, config: Config) -> None:
    """Draws the curves and prints a short table."""
    from bert_jax.commands import plot
    from bert_jax.console import table
    from bert_jax.training.metrics import read_metrics

    lines = read_metrics(workdir / "metrics.jsonl")
    picture = plot.run([workdir], workdir / "loss.png")
    rows = {"steps": f"{config.train.steps:,}", "curves": picture}
    held_out = [line for line in lines if line["split"] == "eval"]
    trained = [line for line in lines if line["split"] == "train"]
    if trained:
        rows["training loss"] = f"{trained[-1]['loss']:.3f}"
        rows["tokens/s"] = f"{trained[-1]['tokens_per_s']:,.0f}"
    if held_out:
        first, last = held_out[0], held_out[-1]
        for name in ("mlm_loss", "mlm_accuracy", "pair_loss", "pair_accuracy", "rtd_loss", "rtd_recall"):
            if name in last:
                label = f"held-out {name.replace('_', ' ').replace('mlm', 'MLM').replace('rtd', 'RTD')}"
                rows[label] = f"{last[name]:.3f} (at step {first['step']}: {first[name]:.3f})"
    table(f"trained: {workdir}", rows)
