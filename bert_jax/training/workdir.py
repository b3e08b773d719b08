"""A run's folder: its configuration, and the guarantee that it belongs to one run.

config.json  metrics.jsonl  tensorboard/  checkpoints/  tokenizer.json and its companions  loss.png
init.json, of a run that began with other models' parameters: what was taken of them
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_jax import config as configs
from bert_jax import locks
from bert_jax.config import Config
from bert_jax.errors import ConfigError, UserError

# What may differ when a run goes on: where things lie, how work is spread and how often it is saved
# decide neither the batches nor, beyond rounding, the parameters.
FREE = ("data.directory", "data.tfds_dir", "parallel.", "checkpoint.")
CONFIG_FILE = "config.json"


@contextlib.contextmanager
def claim(
    path: Path, config: Config, *, corpus: str, init: tuple[Path, ...] = ()
) -> Iterator[tuple[Path, ...]]:
    """Holds `path` for a run of `config` on the corpus with digest `corpus`; creates it if need be.

    init: the models whose parameters the run begins with; (): fresh ones, or what the run began with.

    Yields:
      What the run began with, or begins with if it is new; (): fresh parameters.

    Raises:
      UserError: another process works there, or it holds something else.
      ConfigError: it is the folder of another config; names every value that differs.
    """
    init = tuple(folder.resolve() for folder in init)  # the same, wherever the command is given
    file = path / CONFIG_FILE
    if path.is_dir() and not file.is_file() and any(p.name != ".lock" for p in path.iterdir()):
        raise UserError(f"--workdir {path} is not empty and has no {CONFIG_FILE}: choose another folder")
    path.mkdir(parents=True, exist_ok=True)
    with locks.held(path / ".lock", f"--workdir {path}"):
        if file.is_file():
            _refuse_another_config(path, config, corpus, init)
            init = read_init(path)
        saved = {
            "config": configs.to_dict(config),
            "corpus": corpus,
            "init": [str(folder) for folder in init],
        }
        text = json.dumps(saved, indent=1)
        partial = file.with_name(CONFIG_FILE + ".partial")
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(file)
        yield init


def _refuse_another_config(path: Path, config: Config, corpus: str, init: tuple[Path, ...]) -> None:
    theirs, their_corpus = read_config(path)
    faults = configs.differences(config, theirs, ignore=FREE)
    if their_corpus != corpus:
        faults.append(f"corpus: {corpus} now, {their_corpus} there (its text or vocabulary changed)")
    if init not in ((), read_init(path)):
        now, there = (" --init-generator ".join(map(str, paths)) for paths in (init, read_init(path)))
        faults.append(f"--init: {now} now, {there or 'none'} there")
    if faults:
        where = f"--workdir {path} is of another config; resume with its values or choose another:"
        raise ConfigError([where, *(f"  {fault}" for fault in faults)])


def is_workdir(path: Path) -> bool:
    """Whether `path` holds a run of ours (and not a Hugging Face config.json)."""
    try:
        saved = json.loads((path / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(saved, dict) and "corpus" in saved


def read_config(path: Path) -> tuple[Config, str]:
    """The configuration of a run folder, and the digest of its corpus.

    Raises:
      UserError: there is none.
    """
    saved = _read(path)
    try:
        return configs.resolve(saved["config"]), saved["corpus"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path / CONFIG_FILE}: not a run's configuration: {error!r}") from error


def read_init(path: Path) -> tuple[Path, ...]:
    """The directories whose models a run began with, a discriminator before its generator; (): fresh."""
    init = _read(path).get("init") or []
    return tuple(Path(folder) for folder in ([init] if isinstance(init, str) else init))  # once one string


def _read(path: Path) -> dict[str, Any]:
    file = path / CONFIG_FILE
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not a workdir: it has no {CONFIG_FILE}") from None
    except ValueError as error:
        raise UserError(f"{file}: not a run's configuration: {error!r}") from error
    if not isinstance(saved, dict):
        raise UserError(f"{file}: not a run's configuration: holds a {type(saved).__name__}")
    return saved
