"""Fine-tuning on examples that are Python lists: they become files of the run's folder, and the run one like any."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_jax import atomic
from bert_jax import config as configs
from bert_jax.config import FinetuneConfig
from bert_jax.config.finetune import TaskKind
from bert_jax.errors import UserError
from bert_jax.interop import native
from bert_jax.tasks.choose import select_of
from bert_jax.tasks.finetune import finetune
from bert_jax.tasks.load import LoadedModel
from bert_jax.tasks.seeds import best_scores

Example = Sequence[Any]
"""(text, label) or (text, partner, label): a class's name, a list of labels, or a number; of similarity
(text, partner, number), or (text, partner) to train by the contrastive loss."""


def finetune_lists(
    model: LoadedModel | str | Path,
    folder: Path,
    *,
    train: Sequence[Example],
    evaluation: Sequence[Example],
    task: TaskKind,
    values: Mapping[str, Any],
) -> tuple[Path, dict[str, float]]:
    """Fine-tunes in folder/run; gives that workdir and the scores of its best evaluation ({} without one).

    values: configuration, such as {"train.epochs": 3.0}.

    Raises:
      UserError: examples that are not alike, and whatever `finetune` raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_contrastive = task == "similarity" and values.get("task.loss") == "contrastive"
    _write(folder / "train.jsonl", train, _forms(task, labelled=not is_contrastive), "train")
    if evaluation:
        _write(folder / "eval.jsonl", evaluation, _forms(task), "eval")
    raw = configs.base(FinetuneConfig).to_dict()
    raw["task"] |= {"kind": task, "train": str(folder / "train.jsonl")}
    raw["task"] |= {"eval": str(folder / "eval.jsonl")} if evaluation else {}
    raw["log"]["sinks"] = ()
    config = configs.resolve(configs.with_values(raw, values), FinetuneConfig)
    init: str | Path
    if isinstance(model, str | Path):
        init = model
    else:
        init = folder / "init"
        if not native.is_native(init):
            native.save_native(init, model.params, config=model.config, tokenizer=model.tokenizer)
    workdir = folder / "run"
    finetune(config, workdir, init=init, command="the same call")
    return workdir, best_scores(workdir, select_of(config))


_Form = tuple[str, ...]  # the fields of an example, in order


def _forms(task: TaskKind, *, labelled: bool = True) -> tuple[_Form, ...]:
    """What an example can be."""
    if task != "similarity":
        return ("text", "label"), ("text", "text_pair", "label")
    scored = ("text", "text_pair", "label")
    return (scored,) if labelled else (scored, ("text", "text_pair"))


def _write(path: Path, examples: Sequence[Example], forms: Sequence[_Form], name: str) -> None:
    if not examples:
        raise UserError(f"{name}: holds no example; give some")
    fields = next((form for form in forms if len(form) == len(examples[0])), ())
    lines = []
    for number, example in enumerate(examples):
        if isinstance(example, str) or not fields or len(example) != len(fields):
            shown = " or ".join(f"({', '.join(form)})" for form in forms)
            raise UserError(f"{name}[{number}]={example!r} must be {shown}, as all others are")
        record = dict(zip(fields, example, strict=True))
        if isinstance(record.get("label"), tuple | set):
            record["label"] = list(record["label"])
        lines.append(json.dumps(record, ensure_ascii=False))
    atomic.write_text(path, "\n".join(lines) + "\n")
