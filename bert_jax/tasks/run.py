"""Pretraining from Python: the same call as the command."""

from __future__ import annotations

import functools
from pathlib import Path

from bert_jax.config import PretrainConfig
from bert_jax.tasks.choose import task_of
from bert_jax.tasks.initialize import check_flags, check_growth, start_from
from bert_jax.training import trainer
from bert_jax.training import workdir as workdirs


def pretrain(
    config: PretrainConfig,
    workdir: str | Path,
    *,
    init: str | Path | None = None,
    init_generator: str | Path | None = None,
    experiment: str = "FILE",
    command: str = "the same command",
) -> None:
    """Trains to `config.train.steps` on the prepared corpus, resuming what `workdir` holds.

    Where `processes.start` found other processes, all of them call this alike, and are alone when it returns.
    An error that one of them meets ends every one, and no exception is raised.

    Args:
      init: a model whose parameters a new run begins with: a workdir, an export, a Hugging Face directory, a TF1
        checkpoint, or the id of a model of the Hugging Face hub, with `@revision` if need be. A run keeps the commit
        that it began with.
      init_generator: for replaced-token detection, the generator's, where `init` has none.
      experiment: what follows `--config` in the command that prepares the corpus, for the message that it is missing.
      command: what resumes the run, for the message of one that is stopped.

    Raises:
      UsageError: `init` and `init_generator` do not fit each other or the objective; config.init.growth of a new run
        without `init`.
      ConfigError: the devices, the corpus or the workdir do not fit the configuration.
      UserError: no prepared corpus; an `init` that does not fit; a loss that is not finite; a disk that
        cannot be written.
      Interrupted: a signal came; the state was saved.
    """
    task = task_of(config, experiment=experiment)
    sources = check_flags(task, init, init_generator)
    check_growth(config, has_source=bool(sources) or workdirs.is_workdir(Path(workdir)))
    trainer.run(
        task,
        config,
        Path(workdir),
        init=sources,
        start_from=functools.partial(start_from, task),
        command=command,
    )
