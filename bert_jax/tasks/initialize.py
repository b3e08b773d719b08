"""The state a run begins with: fresh, or with the parameters of other models."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bert_jax import api
from bert_jax.config import Config, ModelConfig
from bert_jax.config.electra import discriminator_config, generator_config
from bert_jax.errors import UsageError, UserError
from bert_jax.interop.parameters import flatten
from bert_jax.interop.transfer import InitReport, adapt, check_architecture, differences
from bert_jax.models import electra as replaced
from bert_jax.tasks.assembly import Assembly
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training import workdir as workdirs
from bert_jax.training.state import TrainState

REPORT_FILE = "init.json"


@dataclasses.dataclass(frozen=True)
class Report:
    """What each encoder of a run took. An encoder that is alone has no name, ""."""

    folders: Mapping[str, Path]
    encoders: Mapping[str, InitReport]
    """of each by itself, with the tables that two share"""
    overruled: tuple[str, ...] = ()
    """tensors that two encoders share but whose sources differ: they are the discriminator's"""

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = []
        for name, report in self.encoders.items():
            lines.append(f"{name and name + ': '}starting from {self.folders[name]}")
            lines += [f"  {line}" for line in report.lines()]
        return lines + [
            f"shared, and not alike in both: {path} (the discriminator's is taken)" for path in self.overruled
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        each = {n: {"init": str(self.folders[n]), **report.to_dict()} for n, report in self.encoders.items()}
        return each[""] if "" in each else each | {"overruled": list(self.overruled)}


@dataclasses.dataclass(frozen=True)
class _Source:
    """A model as `api.load_parts` finds it."""

    folder: Path
    place: str
    """the model's name for messages"""
    config: ModelConfig
    params: Any
    tokenizer: Tokenizer | None
    unread: tuple[str, ...]


def new_state(
    parts: Assembly, init: tuple[Path, ...], tokenizer: Tokenizer
) -> tuple[TrainState, Report | None]:
    """The state before step 0, on its devices, and what of `init` is in it; (): nothing, it is fresh.

    Args:
      init: the directory of a model; for replaced-token detection, of such a run or of two models, first the
        discriminator.
      tokenizer: the run's.

    Raises:
      UsageError: for replaced-token detection, a source for one encoder alone or too many.
      UserError: `init` is no model, or not one that the run's model can take parameters from.
    """
    if not init:
        return parts.new_state(), None
    config = parts.config
    models = _models(config)
    sources = _open(config, init)
    for name, source in sources.items():  # before anything is compiled
        if name == "generator":
            _check_generator(source, config)
        else:
            check_architecture(source.config, to=models[name], place=source.place)
    state = parts.new_state()
    # Whole on each device first: every process must see all of it, also where it is sharded over them.
    whole = jax.jit(lambda tree: tree, out_shardings=parts.plan.replicated)(state.params)
    fresh = _apart(config, jax.device_get(whole))
    taken, reports = {}, {}
    for name, source in sources.items():
        taken[name], found = adapt(
            source.params,
            source.config,
            source.tokenizer,
            to=models[name],
            to_tokenizer=tokenizer,
            fresh=fresh[name],
            place=source.place,
        )
        reports[name] = dataclasses.replace(found, unread=source.unread)
    folders = {name: source.folder for name, source in sources.items()}
    report = Report(folders, reports, _overruled(config, taken))
    placed = jax.tree.map(
        lambda new, old: jax.device_put(new, old.sharding), _together(config, taken), state.params
    )
    return dataclasses.replace(state, params=placed), report


def tell(report: Report, workdir: Path) -> None:
    """Prints what was taken, and keeps it in the workdir."""
    for line in report.lines():
        print(line, file=sys.stderr)
    text = json.dumps(report.to_dict(), indent=1)
    (workdir / REPORT_FILE).write_text(text + "\n", encoding="utf-8")


def _open(config: Config, init: tuple[Path, ...]) -> dict[str, _Source]:
    """The source of every encoder of a run of `config`."""
    first, *others = init
    if config.objective.name != "rtd":
        return {"": _load(first, "")}
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
    return {"discriminator": _load(first, "discriminator"), "generator": _load(others[0], "generator")}


def _load(folder: Path, name: str) -> _Source:
    """`name`: for which encoder of the run, which it is there too if there are two."""
    part: Any = name if name and _has_two(folder) else None
    config, params, tokenizer, loaded = api.load_parts(folder, part=part)
    unread = loaded.unexpected if loaded else ()
    return _Source(folder, f"{name} {folder}".strip(), config, params, tokenizer, unread)


def _has_two(folder: Path) -> bool:
    return workdirs.is_workdir(folder) and workdirs.read_config(folder)[0].objective.name == "rtd"


def _check_generator(source: _Source, config: Config) -> None:
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
    raise UserError(f"the generator's {', '.join(said)} as in {source.folder}: {advice}")


def _models(config: Config) -> dict[str, ModelConfig]:
    """The architecture of every encoder of a run."""
    if config.objective.name != "rtd":
        return {"": config.model}
    return {
        "discriminator": discriminator_config(config.model),
        "generator": generator_config(config.model, config.objective),
    }


def _apart(config: Config, params: Any) -> dict[str, Any]:
    """The parameters of every encoder of a run, each standing alone."""
    if config.objective.name != "rtd":
        return {"": params}
    sharing = config.objective.embedding_sharing
    return {
        "discriminator": replaced.discriminator_params(params, sharing),
        "generator": replaced.generator_params(params, sharing),
    }


def _together(config: Config, trees: Mapping[str, Any]) -> Any:
    """The inverse of `_apart`."""
    if config.objective.name != "rtd":
        return trees[""]
    return replaced.join(trees["generator"], trees["discriminator"], config.objective.embedding_sharing)


def _overruled(config: Config, trees: Mapping[str, Any]) -> tuple[str, ...]:
    """The generator's tensors that differ from the discriminator's, which stand for both."""
    if config.objective.name != "rtd" or config.objective.embedding_sharing != "shared":
        return ()
    theirs = flatten(trees["generator"])
    shared = flatten({"bert": {"embeddings": replaced.shared_tables(trees["discriminator"])}})
    return tuple(path for path, table in shared.items() if not np.array_equal(table, theirs[path]))
