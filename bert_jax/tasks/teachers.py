"""The teachers of a run: where they are, their digests, and what each must have."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from bert_jax import atomic, hub, json_file
from bert_jax.config import DistilRun
from bert_jax.config.distil import LOSSES
from bert_jax.config.model import EXECUTION, ModelConfig
from bert_jax.errors import UserError
from bert_jax.models.parameters import flatten
from bert_jax.tasks.finetuning import Finetuning
from bert_jax.tasks.load import LoadedModel
from bert_jax.tasks.pretraining import Pretraining

TEACHER_FILE = "teacher.json"
_OF_THE_HUB = {field.name: str for field in dataclasses.fields(hub.ModelId)}


class Found(NamedTuple):
    """A teacher as it was given and opened."""

    source: hub.Source
    model: LoadedModel


def save_teachers(workdir: Path, found: Sequence[Found]) -> None:
    """Writes where the teachers are, those of the hub with their commits, for a run that resumes."""
    sources = [_plain(hub.pinned(teacher.source)) for teacher in found]
    atomic.write_text(workdir / TEACHER_FILE, json.dumps({"teachers": sources}, indent=1) + "\n")


def _plain(source: hub.Source) -> Any:
    return str(source.resolve()) if isinstance(source, Path) else dataclasses.asdict(source)


def saved_teachers(workdir: Path) -> tuple[hub.Source, ...]:
    """The teachers of the run in `workdir`; (): it holds none."""
    file = workdir / TEACHER_FILE
    if not file.is_file():
        return ()
    advice = "name the teachers by --teacher in another workdir"
    entries = json_file.read(file, {"teachers": list}, advice=advice)["teachers"]
    for number, entry in enumerate(entries):
        form = str if isinstance(entry, str) else _OF_THE_HUB
        if fault := json_file.fault(entry, form):
            raise UserError(f"{file}: teachers[{number}]: {fault}: {advice}")
    return tuple(
        Path(entry) if isinstance(entry, str) else hub.ModelId(*(entry[name] for name in _OF_THE_HUB))
        for entry in entries
    )


def digest(found: Found) -> str:
    """Of a teacher's architecture and parameters.

    Of the architecture what is not as by default: an option that a later version adds leaves the digest as it is. How the
    model is run is no part of it.
    """
    own, default = dataclasses.asdict(found.model.config), dataclasses.asdict(ModelConfig())
    chosen = {name: _differing(own[name], default[name]) for name in own if name not in EXECUTION}
    sha = hashlib.sha256(json.dumps(_without_empty(chosen), sort_keys=True).encode())
    for path, leaf in sorted(flatten(found.model.params).items()):
        sha.update(path.encode())
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return sha.hexdigest()[:16]


def _differing(value: Any, default: Any) -> Any:
    """The value where it is not the default, of a group of options those that are not; else an empty dict."""
    if isinstance(value, dict):
        return _without_empty({name: _differing(value[name], default[name]) for name in value})
    return {} if value == default else value


def _without_empty(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != {}}


def check(student: Pretraining | Finetuning, found: Sequence[Found]) -> None:
    """Raises `UserError` where a teacher lacks what the losses of `student` read, or reads other tokens."""
    distil = cast(DistilRun, student.config).distil
    for source, model in found:
        broken = [path for path, leaf in flatten(model.params).items() if not np.isfinite(leaf).all()]
        if broken:
            raise UserError(f"--teacher {source}: {broken[0]} holds values that are not finite")
        if distil.soft:
            _check_head(student, source, model)
        _check_vocabulary(student, source, model)
        longest = (
            student.config.task.max_length
            if isinstance(student, Finetuning)
            else max(phase.spec.length for phase in student.phases)
        )
        if longest > model.config.max_positions:
            raise UserError(
                f"--teacher {source}: has {model.config.max_positions} positions, the rows have up to {longest} tokens"
            )
    if len(found) > 1 and distil.cache and isinstance(student, Pretraining):
        raise UserError(
            f"--teacher: {len(found)} teachers must be one with config.distil.cache=True in pretraining: the largest logits"
            " of several are of different tokens"
        )
    if len(found) > 1 and any(getattr(distil, name) for name in LOSSES if name != "soft"):
        raise UserError(
            f"--teacher: {len(found)} teachers can be averaged for config.distil.soft alone; other losses take one"
        )


def _check_head(student: Pretraining | Finetuning, source: hub.Source, model: LoadedModel) -> None:
    place = f"--teacher {source}"
    if isinstance(student, Pretraining):
        if "mlm_head" not in model.params:
            raise UserError(f"{place}: has no MLM head, which config.distil.soft reads")
        return
    ours, theirs = student.model.head, model.config.head
    if ours.kind == "embedding":
        return  # any encoder gives vectors
    if theirs.kind != ours.kind or "task_head" not in model.params:
        has = "no task head" if theirs.kind == "none" else f"a task head of {theirs.kind}"
        raise UserError(
            f"{place}: has {has}, config.distil.soft reads one of {ours.kind}: fine-tune the teacher first"
        )
    if theirs.labels != ours.labels:
        raise UserError(
            f"{place}: its labels are {', '.join(theirs.labels)}, the student's are {', '.join(ours.labels)}"
        )


def _check_vocabulary(student: Pretraining | Finetuning, source: hub.Source, model: LoadedModel) -> None:
    place, ours = f"--teacher {source}", student.tokenizer
    remedy = (
        f"prepare the corpus with config.tokenizer.path={source}"
        if isinstance(student, Pretraining)
        else "begin with a student of the teacher's vocabulary"
    )
    if model.tokenizer is None:
        raise UserError(
            f"{place}: has no tokenizer, so that its vocabulary cannot be compared with the student's"
        )
    theirs = model.tokenizer
    if theirs.backend.get_vocab() == ours.backend.get_vocab() and theirs.names == ours.names:
        return
    raise UserError(
        f"{place}: another vocabulary than the student's ({theirs.vocab_size:,} and {ours.vocab_size:,} entries): both"
        f" must read the same tokens; {remedy}"
    )
