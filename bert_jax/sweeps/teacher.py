"""The teacher of a sweep, from which its trials of distillation learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from bert_jax import hub
from bert_jax.config import DistilPretrainConfig, RunConfig
from bert_jax.errors import ConfigError, UserError


def faults(teacher: str, variants: Mapping[str, RunConfig]) -> Iterator[str]:
    """A teacher ("": none) that the configurations, by variant, lack or do not read."""
    students = [name for name, config in variants.items() if isinstance(config, DistilPretrainConfig)]
    if students and not teacher:
        yield (
            f"variant {', '.join(students)}: of distillation (config.distil), so that teacher='' must be a model: name"
            " it in the file or by --teacher"
        )
    if teacher and not students:
        yield (
            f"teacher={teacher!r} must be left out: no variant has a value of config.distil, and no other run reads"
            " a teacher"
        )


def check(teacher: str, variants: Mapping[str, RunConfig]) -> None:
    """Checks that the students can be compared with the teacher as their losses ask. Touches no device.

    Args:
      teacher: as `located` gives it.

    Raises:
      ConfigError: losses that need the two models to be alike where they are not, by variant.
      UserError: the teacher cannot be read.
    """
    from bert_jax.tasks.comparison import Comparison
    from bert_jax.tasks.load import read_architecture

    architecture = read_architecture(teacher)
    found = [
        f"variant {name}: {fault}"
        for name, config in variants.items()
        if isinstance(config, DistilPretrainConfig)
        for fault in Comparison(config.distil, config.model, architecture, "mlm").faults()
    ]
    if found:
        raise ConfigError([f"--teacher {teacher}: {fault}" for fault in found])


def located(teacher: str) -> str:
    """The teacher as every trial finds it, wherever it is started: an absolute path, or the id of a model of the hub with
    its commit, downloaded. A path is relative to the working directory.

    Raises:
      UserError: there is no such directory and no such model.
    """
    source = hub.parse(teacher)
    folder = hub.resolve(source)
    if not folder.is_dir():
        raise UserError(f"--teacher {teacher}: no such directory")
    found = hub.pinned(source)
    return str(found.resolve() if isinstance(found, Path) else found)
