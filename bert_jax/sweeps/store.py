"""S/sweep.json: the sweep that a folder belongs to, with every trial resolved, so that a trial needs nothing else."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_jax import atomic, json_file
from bert_jax import config as configs
from bert_jax.config import older
from bert_jax.errors import ConfigError, UserError
from bert_jax.sweeps.definition import NAME, Column, Plan, Published, Sweep, Trial, Variant
from bert_jax.training.workdir import FREE

SWEEP_FILE = "sweep.json"
_SHOWN = 20  # differences of another sweep that are listed


def claim(folder: Path, plan: Plan) -> None:
    """Makes `folder` that of `plan`, or checks that it is; the plan may have gained variants and seeds.

    Raises:
      UserError: the folder holds something else.
      ConfigError: it is the folder of another sweep; names what differs.
    """
    is_taken = folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
    if is_taken and not (folder / SWEEP_FILE).is_file():
        raise UserError(f"--workdir {folder} is not empty and has no {SWEEP_FILE}: choose another folder")
    if (folder / SWEEP_FILE).is_file():
        _check_same_sweep(folder, plan, read_plan(folder))
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_text(
        folder / SWEEP_FILE, json.dumps(_to_dict(plan), indent=1) + "\n"
    )  # first: it says whose folder it is
    for name in ("trials", "attempts", "logs"):
        (folder / name).mkdir(exist_ok=True)


def _check_same_sweep(folder: Path, new: Plan, saved: Plan) -> None:
    faults = [
        f"{name}: {now!r} now, {there!r} there"
        for name, now, there in (
            ("tokens", new.sweep.tokens, saved.sweep.tokens),
            ("baseline", new.sweep.baseline, saved.sweep.baseline),
            ("probes", new.sweep.probes, saved.sweep.probes),
            ("tasks", sorted(new.tasks), sorted(saved.tasks)),
            ("teacher", new.sweep.teacher, saved.sweep.teacher),
        )
        if now != there
    ]
    faults += [f"probed on: {fault}" for fault in _differences(new.reference, saved.reference)]
    for name in new.tasks.keys() & saved.tasks.keys():
        faults += [f"task {name}: {fault}" for fault in _differences(new.tasks[name], saved.tasks[name])]
    trials = {trial.name: trial for trial in new.trials}
    for trial in saved.trials:
        if trial.name not in trials:
            faults.append(f"trial {trial.name} is there and not in {new.file}")
        else:
            found = _differences(trials[trial.name].config, trial.config)
            faults += [f"trial {trial.name}: {fault}" for fault in found]
    if faults:
        shown = [f"  {fault}" for fault in faults[:_SHOWN]]
        shown += [f"  and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise ConfigError(
            [f"--workdir {folder} belongs to another sweep, {saved.file}; choose another folder:", *shown]
        )


def _differences(new: configs.RunConfig, saved: configs.RunConfig) -> list[str]:
    return configs.differences(new, saved, ignore=FREE)


def _to_dict(plan: Plan) -> dict[str, Any]:
    return {
        "file": plan.file,
        "sweep": dataclasses.asdict(plan.sweep),
        "reference": configs.to_dict(plan.reference),
        "tasks": {name: configs.to_dict(config) for name, config in plan.tasks.items()},
        "trials": [
            {
                "name": trial.name,
                "variant": trial.variant,
                "seed": trial.seed,
                "config": configs.to_dict(trial.config),
            }
            for trial in plan.trials
        ],
    }


def read_plan(folder: Path) -> Plan:
    """The sweep of a folder.

    Raises:
      UserError: the folder has none, or its sweep.json is damaged.
    """
    file = folder / SWEEP_FILE
    try:
        return _from_dict(json_file.read(file))
    except FileNotFoundError:
        raise UserError(f"{folder} is not the folder of a sweep: it has no {SWEEP_FILE}") from None
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise UserError(f"{file}: not a sweep: {error!r}") from error


def _from_dict(saved: Mapping[str, Any]) -> Plan:
    sweep = _renamed(saved["sweep"])
    published = sweep["published"]
    if published:
        published = _renamed(published)
        published = Published(
            source=published["source"],
            columns=tuple(Column(**column) for column in published["columns"]),
            rows={title: tuple(row) for title, row in published["rows"].items()},
            variants=published["variants"],
        )
    sweep |= {name: tuple(sweep[name]) for name in ("seeds", "probes", "measures")}
    sweep |= {"variants": tuple(Variant(**variant) for variant in sweep["variants"]), "published": published}
    trials = tuple(
        Trial(
            variant=each["variant"], seed=each["seed"], config=configs.resolve(older.current(each["config"]))
        )
        for each in map(_renamed, saved["trials"])
    )
    for name in (*(trial.name for trial in trials), *saved.get("tasks", {})):
        if not NAME.fullmatch(name):  # names files, and the plan may come from anywhere
            raise ValueError(f"the name {name!r} must be letters, digits and ._+-")
    return Plan(
        file=saved["file"],
        sweep=Sweep(**sweep),
        reference=configs.resolve(older.current(saved["reference"])),
        trials=trials,
        tasks={
            name: configs.resolve(older.current(config), configs.FinetuneConfig)
            for name, config in saved.get("tasks", {}).items()
        },
    )


_OLD_NAMES = {"arm": "variant", "arms": "variants"}


def _renamed(entries: Mapping[str, Any]) -> dict[str, Any]:
    """`entries` under today's names: version 0.1 said arm where the code says variant."""
    return {_OLD_NAMES.get(name, name): value for name, value in entries.items()}
