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
"""(text, label) or (text, partner, label): a class's name, a list of labels, or a number."""


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
    _write(folder / "train.jsonl", train, "train")
    if evaluation:
        _write(folder / "eval.jsonl", evaluation, "eval")
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


def _write(path: Path, examples: Sequence[Example], name: str) -> None:
    if not examples:
        raise UserError(f"{name}: holds no example; give some")
    size = len(examples[0])
    lines = []
    for number, example in enumerate(examples):
        if isinstance(example, str) or len(example) not in (2, 3) or len(example) != size:
            raise UserError(
                f"{name}[{number}]={example!r} must be (text, label) or (text, partner, label), as all others are"
            )
        *texts, label = example
        label = list(label) if isinstance(label, tuple | set) else label
        pair = {"text_pair": texts[1]} if size == 3 else {}
        lines.append(json.dumps({"text": texts[0], **pair, "label": label}, ensure_ascii=False))
    atomic.write_text(path, "\n".join(lines) + "\n")
