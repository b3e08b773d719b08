"""Fine-tuning on examples that are Python lists: they become files of the run's folder, and the run one like any."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_jax import atomic
from bert_jax import config as configs
from bert_jax.config import FinetuneConfig
from bert_jax.config.finetune import TaskKind
from bert_jax.errors import UserError
from bert_jax.interop import native
from bert_jax.tasks.finetune import finetune
from bert_jax.tasks.load import LoadedModel
from bert_jax.tasks.seeds import best_scores

Example = Sequence[Any]
"""(text, label) or (text, partner, label): a class's name, a list of labels, or a number; of tagging (words, tags);
of questions (question, context, answers)."""


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
    objects = {"tagging": _tagged, "question_answering": _questions}.get(task, _labelled)
    _write(folder / "train.jsonl", objects(train, "train"), "train")
    if evaluation:
        _write(folder / "eval.jsonl", objects(evaluation, "eval"), "eval")
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
    return workdir, best_scores(workdir)


def _write(path: Path, objects: Iterable[Mapping[str, Any]], name: str) -> None:
    lines = [json.dumps(one, ensure_ascii=False) for one in objects]
    if not lines:
        raise UserError(f"{name}: holds no example; give some")
    atomic.write_text(path, "\n".join(lines) + "\n")


def _labelled(examples: Sequence[Example], name: str) -> Iterator[dict[str, Any]]:
    """Texts or pairs of texts."""
    for number, example in enumerate(examples):
        if isinstance(example, str) or len(example) not in (2, 3) or len(example) != len(examples[0]):
            raise UserError(
                f"{name}[{number}]={example!r} must be (text, label) or (text, partner, label), as all others are"
            )
        *texts, label = example
        label = list(label) if isinstance(label, tuple | set) else label
        pair = {"text_pair": texts[1]} if len(texts) == 2 else {}
        yield {"text": texts[0], **pair, "label": label}


def _tagged(examples: Sequence[Example], name: str) -> Iterator[dict[str, Any]]:
    """Sentences of words."""
    for number, example in enumerate(examples):
        parts = () if isinstance(example, str) else tuple(example)
        are_lists = all(isinstance(part, Sequence) and not isinstance(part, str) for part in parts)
        if len(parts) != 2 or not are_lists or len(parts[0]) != len(parts[1]):
            raise UserError(f"{name}[{number}]={example!r} must be (words, tags), two lists of one length")
        yield {"tokens": list(parts[0]), "tags": list(parts[1])}


def _questions(examples: Sequence[Example], name: str) -> Iterator[dict[str, Any]]:
    """Questions with their contexts, in the columns of SQuAD's tables."""
    for number, example in enumerate(examples):
        if isinstance(example, str) or len(example) != 3 or not _are_answers(example[2]):
            raise UserError(
                f"{name}[{number}]={example!r} must be (question, context, answers), answers a list of texts or of (text,"
                " its first character in the context)"
            )
        question, context, answers = example
        # A text alone is looked for from the context's start.
        pairs = [(answer, 0) if isinstance(answer, str) else answer for answer in answers]
        spans = {"text": [text for text, _ in pairs], "answer_start": [start for _, start in pairs]}
        yield {"id": str(number), "question": question, "context": context, "answers": spans}


def _are_answers(answers: Any) -> bool:
    return isinstance(answers, list | tuple) and all(
        isinstance(answer, str)
        or (isinstance(answer, list | tuple) and [type(part) for part in answer] == [str, int])
        for answer in answers
    )
