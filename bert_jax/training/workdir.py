"""A run's folder: its configuration, and the guarantee that it belongs to one run.

config.json  metrics.jsonl  tensorboard/  checkpoints/  tokenizer.json and its companions  loss.png
init.json, of a run that began with other models' parameters: what was taken of them
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from bert_jax import atomic, hub, json_file, locks
from bert_jax import config as configs
from bert_jax.config import RunConfig, older
from bert_jax.errors import ConfigError, UserError
from bert_jax.hub import ModelId, Source

# What may differ when a run goes on: where things lie, how work is spread and computed, how often it is saved and where
# it is logged decide neither the batches nor, beyond rounding, the parameters. What labelled data holds, its digest says.
FREE = (
    "data.directory", "data.tfds_dir", "task.train", "task.eval", "task.test", "task.tfds_dir", "distil.cache_directory", "distil.cache_gigabytes",
    "model.attention_backend", "model.layers", "model.remat", "parallel.", "checkpoint.", "log.",
)  # fmt: skip
CONFIG_FILE = "config.json"
FORMAT = 3
"""2: `identity` instead of `corpus`, and `config.phases`. 1, without a number, is read too."""


Config = TypeVar("Config", bound=RunConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saved(Generic[Config]):
    """What config.json of a workdir says."""

    config: Config
    identity: Mapping[str, str]
    """digests of what the run is bound to, by name: "corpus" """
    init: tuple[Source, ...] = ()
    """the models that it began with, those of the hub with their commits; (): fresh parameters"""


@contextlib.contextmanager
def claim(
    path: Path, config: RunConfig, *, identity: Mapping[str, str], init: tuple[Source, ...] = ()
) -> Iterator[tuple[Source, ...]]:
    """Holds `path` for a run of `config` that is bound to `identity`; creates it if need be.

    init: the models whose parameters the run begins with; (): fresh ones, or what the run began with.

    Yields:
      What the run began with, or begins with if it is new; (): fresh parameters.

    Raises:
      UserError: another process works there, or it holds something else.
      ConfigError: it is the folder of another config; names every value that differs.
    """
    # The same, wherever the command is given.
    init = tuple(source.resolve() if isinstance(source, Path) else source for source in init)
    file = path / CONFIG_FILE
    if path.is_dir() and not file.is_file() and any(not p.name.startswith(".") for p in path.iterdir()):
        raise UserError(f"--workdir {path} is not empty and has no {CONFIG_FILE}: choose another folder")
    path.mkdir(parents=True, exist_ok=True)
    with locks.held(path / ".lock", f"--workdir {path}"):
        if file.is_file():
            saved = read(path, RunConfig)
            _refuse_another_run(path, config, identity, init, saved)
            init = saved.init
        else:
            init = tuple(map(hub.pinned, init))
        values = {
            "format": FORMAT,
            "config": configs.to_dict(config),
            "identity": dict(identity),
            "init": [str(s) if isinstance(s, Path) else dataclasses.asdict(s) for s in init],
        }
        atomic.write_text(file, json.dumps(values, indent=1) + "\n")
        yield init


def _refuse_another_run(
    path: Path, config: Any, identity: Mapping[str, str], init: tuple[Source, ...], saved: Saved
) -> None:
    faults = configs.differences(config, saved.config, ignore=FREE)
    for name in sorted(identity.keys() | saved.identity.keys()):
        now, there = identity.get(name), saved.identity.get(name)
        if now != there:
            faults.append(f"{name}: {now} now, {there} there (its content changed)")
    if init and not _are_same(init, saved.init):
        shown, there = (" --init-generator ".join(map(str, paths)) for paths in (init, saved.init))
        faults.append(f"--init: {shown} now, {there or 'none'} there")
    if faults:
        where = f"--workdir {path} is of another config; resume with its values or choose another:"
        raise ConfigError([where, *(f"  {fault}" for fault in faults)])


def _are_same(init: tuple[Source, ...], saved: tuple[Source, ...]) -> bool:
    """Whether a command names the models that the run began with. A branch of the hub may have moved since."""
    return len(init) == len(saved) and all(
        now.names(then) if isinstance(now, ModelId) and isinstance(then, ModelId) else now == then
        for now, then in zip(init, saved, strict=True)
    )


def is_workdir(path: Path) -> bool:
    """Whether `path` holds a run of this package (and not a Hugging Face config.json)."""
    try:
        saved = json_file.parse((path / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(saved, dict) and ("identity" in saved or "corpus" in saved)


def read(path: Path, kind: type[Config] = RunConfig) -> Saved[Config]:  # type: ignore[assignment]
    """What the workdir `path` is of.

    kind: the kind of run that it must be of.

    Raises:
      UserError: it is no workdir, or one of a later format, or of another kind of run.
    """
    file = path / CONFIG_FILE
    try:
        saved = json_file.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not a workdir: it has no {CONFIG_FILE}") from None
    except ValueError as error:
        raise UserError(f"{file}: not a run's configuration: {error!r}") from error
    if not isinstance(saved, dict):
        raise UserError(f"{file}: not a run's configuration: holds a {type(saved).__name__}")
    found = saved.get("format", 1)
    if found == 1:
        saved = _from_first_format(saved)
    elif found not in (2, FORMAT):
        raise UserError(
            f"{file}: format={found!r} must be at most {FORMAT}, the newest that this version reads: use the bert_jax"
            " that wrote it"
        )
    try:
        config = configs.resolve(older.current(saved["config"]), RunConfig)
        identity = dict(saved["identity"])
        init = tuple(
            ModelId(**source) if isinstance(source, dict) else Path(source)
            for source in saved.get("init") or ()
        )
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise UserError(f"{file}: not a run's configuration: {error!r}") from error
    if not isinstance(config, kind):
        raise UserError(
            f"{path}: is of a run of `bert-jax {configs.COMMANDS[type(config)]}`, must be one of"
            f" `bert-jax {configs.COMMANDS[kind]}`"
        )
    return Saved(config=config, identity=identity, init=init)


def _from_first_format(saved: dict[str, Any]) -> dict[str, Any]:
    """Two row lengths were two options of the data, the corpus stood alone, and one `init` was a string."""
    config = dict(saved.get("config") or {})
    data = dict(config.get("data") or {})
    first, share = data.pop("first_length", 0), data.pop("first_share", 0.9)
    if first:
        config["phases"] = ({"share": share, "sequence_length": first}, {"share": round(1 - share, 12)})
    init = saved.get("init") or []
    return {
        "config": config | {"data": data},
        "identity": {"corpus": saved.get("corpus")},
        "init": [init] if isinstance(init, str) else init,
    }
