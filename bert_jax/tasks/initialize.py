"""The parameters of a new run that begins with other models: opened, checked, transferred."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax import hub
from bert_jax.config import ModelConfig, PretrainConfig
from bert_jax.config.electra import generator_config
from bert_jax.errors import UsageError, UserError
from bert_jax.interop.growth import grow
from bert_jax.interop.transfer import InitReport, adapt, check_architecture, differences
from bert_jax.models.parameters import flatten
from bert_jax.tasks.choose import task_of
from bert_jax.tasks.electra import DISCRIMINATOR, GENERATOR
from bert_jax.tasks.load import LoadedModel, load_model
from bert_jax.tasks.pretraining import Pretraining
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training import workdir as workdirs


@dataclasses.dataclass(frozen=True)
class Report:
    """What each encoder of a run took. An encoder that is alone has no name, ""."""

    sources: Mapping[str, hub.Source]
    encoders: Mapping[str, InitReport]
    """of each by itself, with the tables that two share"""
    overruled: tuple[str, ...] = ()
    """tensors that two encoders share but whose sources differ: they are those of the first"""

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = []
        for name, report in self.encoders.items():
            lines.append(f"{name and name + ': '}starting from {self.sources[name]}")
            lines += [f"  {line}" for line in report.lines()]
        return lines + [
            f"shared, and not alike in both: {path} (the discriminator's is taken)" for path in self.overruled
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        each = {n: {"init": str(self.sources[n]), **report.to_dict()} for n, report in self.encoders.items()}
        return each[""] if "" in each else each | {"overruled": list(self.overruled)}


@dataclasses.dataclass(frozen=True)
class _Source:
    """A model as `load_model` finds it."""

    source: hub.Source
    place: str
    """the model's name for messages"""
    config: ModelConfig
    params: Any
    tokenizer: Tokenizer | None
    unread: tuple[str, ...]
    grown: tuple[str, ...] = ()
    """what was done to make it as large as the run's model"""


def check_growth(config: PretrainConfig, *, has_source: bool) -> None:
    """Raises `UsageError` where a model is to grow and none is given."""
    if config.init.growth != "none" and not has_source:
        raise UsageError(
            f"config.init.growth={config.init.growth!r} needs --init, the smaller model that the run begins with"
        )


def check_flags(
    task: Pretraining, init: str | Path | None, init_generator: str | Path | None
) -> tuple[hub.Source, ...]:
    """What both flags name, directories or ids of the hub: whether two are needed, the models tell.

    Raises:
      UsageError: the flags do not fit each other or the task.
    """
    if init_generator is None:
        return () if init is None else (hub.parse(init),)
    flag = f"--init-generator {init_generator}"
    if GENERATOR not in task.encoders:
        name = task.config.objective.name
        raise UsageError(f"{flag} needs config.objective.name=rtd, it is {name}: leave it out")
    if init is None:
        raise UsageError(f"{flag} needs --init, the directory of the discriminator")
    return hub.parse(init), hub.parse(init_generator)


def start_from(
    task: Pretraining,
    sources: tuple[hub.Source, ...],
    fresh: Callable[[], Any],
    *,
    load: Callable[..., LoadedModel] = load_model,
) -> tuple[Any, Report]:
    """The parameters that a run of `task` begins with, NumPy, and what of `sources` is in them.

    Args:
      sources: a model for each encoder, the one to keep first, or the workdir of a run of the same
        encoders.
      fresh: gives the run's fresh parameters; called once the architectures have been compared.
      load: opens a source.

    Raises:
      UsageError: a source for one of two encoders alone, or too many.
      UserError: a source is no model, or not one that the run's model can take parameters from.
    """
    opened = _open(task, sources, load)
    if task.config.init.growth == "tile":
        opened = _grown(task, opened)
    for name, source in opened.items():  # before anything is compiled
        if name == GENERATOR:
            _check_generator(source, task.config)
        else:
            check_architecture(source.config, to=task.encoders[name], place=source.place)
    begun = task.apart(fresh())
    taken, reports = {}, {}
    for name, source in opened.items():
        taken[name], found = adapt(
            source.params,
            source.config,
            source.tokenizer,
            to=task.encoders[name],
            to_tokenizer=task.tokenizer,
            fresh=begun[name],
            place=source.place,
        )
        reports[name] = dataclasses.replace(found, unread=source.unread, grown=source.grown)
    params = task.together(taken)
    begun_with = {name: source.source for name, source in opened.items()}
    return params, Report(begun_with, reports, _overruled(task, taken, params))


def _open(
    task: Pretraining, sources: tuple[hub.Source, ...], load: Callable[..., LoadedModel]
) -> dict[str, _Source]:
    """The source of every encoder of a run."""
    first, *others = sources
    if len(task.encoders) == 1:
        [name] = task.encoders
        return {name: _load(first, name, load)}
    if _has_two(first):
        if others:
            raise UsageError(
                f"--init {first} is of a run with objective.name=rtd, which has a generator: leave out"
                f" --init-generator {others[0]}, or export the discriminator and give that"
            )
        others = [first]
    if not others:
        raise UsageError(
            f"--init {first} is one encoder, config.objective.name=rtd trains two: give the generator's directory"
            " with --init-generator, or for both the workdir of a run with objective.name=rtd"
        )
    return {DISCRIMINATOR: _load(first, DISCRIMINATOR, load), GENERATOR: _load(others[0], GENERATOR, load)}


def _grown(task: Pretraining, opened: Mapping[str, _Source]) -> dict[str, _Source]:
    """The sources in the sizes of the run's encoders."""
    made = {}
    for name, source in opened.items():
        found = grow(source.params, source.config, to=task.encoders[name], place=source.place)
        made[name] = dataclasses.replace(source, config=found.config, params=found.params, grown=found.lines)
    if not any(source.grown for source in made.values()):
        places = " and ".join(source.place for source in made.values())
        raise UserError(
            f"config.init.growth={task.config.init.growth!r} must be 'none', or it does nothing: {places} has the sizes of"
            " the run's model"
        )
    return made


def _load(source: hub.Source, name: str, load: Callable[..., LoadedModel]) -> _Source:
    """`name`: for which encoder of the run, which it is there too if there are two."""
    part = name if name and _has_two(source) else None
    found = load(source, part=part)
    source = hub.pinned(source)  # only what has been loaded has a commit
    unread = found.report.unexpected if found.report else ()
    return _Source(source, f"{name} {source}".strip(), found.config, found.params, found.tokenizer, unread)


def _has_two(folder: hub.Source) -> bool:
    return (
        isinstance(folder, Path)
        and workdirs.is_workdir(folder)
        and len(task_of(workdirs.read(folder, PretrainConfig).config).encoders) > 1
    )


def _check_generator(source: _Source, config: PretrainConfig) -> None:
    """Raises `UserError`, with what gives the run's generator the sizes of `source`."""
    model, objective, theirs = config.model, config.objective, source.config
    differing = differences(theirs, to=generator_config(model, objective))
    if not differing:
        return
    width = round(theirs.num_heads / model.num_heads, 4)
    depth = round(theirs.num_layers / model.num_layers, 4)
    fitting = dataclasses.replace(objective, generator_width=width, generator_depth=depth)
    if max(width, depth) > 1 or differences(theirs, to=generator_config(model, fitting)):
        advice = (
            "no config.objective.generator_width and generator_depth make it so beside this discriminator with"
            f" config.objective.embedding_sharing={objective.embedding_sharing}: choose another"
        )
    else:
        flag = "--config.objective.generator_"
        advice = f"set {flag}width={width} {flag}depth={depth}"
    said = (f"{name}={ours} must be {wanted}" for name, (ours, wanted) in differing.items())
    raise UserError(f"the generator's {', '.join(said)} as in {source.source}: {advice}")


def _overruled(task: Pretraining, taken: Mapping[str, Any], params: Any) -> tuple[str, ...]:
    """The tensors of encoders' sources that are not in the run, because another encoder shares them."""
    stands = {name: flatten(tree) for name, tree in task.apart(params).items()}
    return tuple(
        path
        for name, tree in taken.items()
        for path, table in flatten(tree).items()
        if not np.allclose(table, stands[name][path], rtol=1e-5, atol=1e-7)  # a sum of two may be rounded
    )
