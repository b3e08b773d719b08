"""The classes of `transformers` that have a task head: their tensor names, and what config.json says of the head."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from bert_jax.config.head import OF_TEXTS, HeadConfig, HeadKind, Hidden
from bert_jax.interop.config_fields import Reader

Form = Literal["text", "tagging", "span"]
"""What a class is for: the kinds that read one state of a text share one."""

_SUFFIXES: dict[Form, str] = {
    "text": "ForSequenceClassification",
    "tagging": "ForTokenClassification",
    "span": "ForQuestionAnswering",
}
_KINDS: dict[str, HeadKind] = {
    "single_label_classification": "classification",
    "multi_label_classification": "multilabel",
    "regression": "regression",
}
"""problem_type -> the kind of a class for texts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskClass:
    """A class with a task head.

    name: as config.json's `architectures` has it.
    names: our module -> its module.
    hidden: what a state passes before the output layer; of a class for tokens "pooler", nothing, or "transform".
    pooling: key of config.json that says which state of a text is read; empty: that of [CLS].
    dropout: keys of config.json, of which the first that is not null is the head's dropout; (): it has none.
    """

    name: str
    form: Form
    names: Mapping[str, str]
    hidden: Hidden = "pooler"
    dropout: tuple[str, ...] = ()
    pooling: str = ""

    @property
    def heads(self) -> frozenset[str]:
        """The ones of `names.HEADS` that the class has."""
        reads_pooler = self.form == "text" and self.hidden == "pooler"
        return frozenset(("task_head", "bert/pooler") if reads_pooler else ("task_head",))

    @property
    def output(self) -> str:
        """The module of the output layer."""
        return self.names["task_head/output"]


def task_classes(
    prefix: str,
    dropout: tuple[str, ...] = ("classifier_dropout", "hidden_dropout_prob"),
    *,
    output: str = "classifier",
    dense: str = "",
    hidden: Hidden = "pooler",
    tagging_dropout: tuple[str, ...] | None = None,
    span_dropout: tuple[str, ...] = (),
) -> tuple[TaskClass, ...]:
    """A family's three classes, whose names begin with `prefix`; `output`, `dense` and `hidden` are those of the class
    for texts."""
    modules = {"task_head/output": output} | ({"task_head/dense": dense} if dense else {})
    tagging_dropout = dropout if tagging_dropout is None else tagging_dropout

    def task_class(form: Form, names: Mapping[str, str], keys: tuple[str, ...], hidden: Hidden) -> TaskClass:
        return TaskClass(name=prefix + _SUFFIXES[form], form=form, names=names, hidden=hidden, dropout=keys)

    return (
        task_class("text", modules, dropout, hidden),
        task_class("tagging", {"task_head/output": "classifier"}, tagging_dropout, "pooler"),
        task_class("span", {"task_head/output": "qa_outputs"}, span_dropout, "pooler"),
    )


def form_of(kind: HeadKind) -> Form | None:
    """The form of the class for a head; None: it has no class, because it has no parameters."""
    if kind in OF_TEXTS:
        return "text"
    return next((form for form in ("tagging", "span") if form == kind), None)


# ---------------------------------------------------------------------------------------------
# config.json
# ---------------------------------------------------------------------------------------------


def class_of(reader: Reader) -> str | None:
    """The class that config.json names; None: none."""
    found = reader.raw.get("architectures") or []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        reader.fail("architectures", "a list of class names")
    return found[0] if found else None


def read_head(reader: Reader, task: TaskClass) -> HeadConfig:
    """The head that a config.json of the class `task` describes."""
    labels = _labels(reader)
    kind: HeadKind
    if task.form == "text":
        kind = _kind(reader, len(labels))
    else:
        kind = task.form
    if kind == "span" and len(labels) != 2:
        reader.fail("id2label", "of 2 labels, the first and the last token of an answer")
    given = [key for key in task.dropout if reader.raw.get(key) is not None]
    head = HeadConfig(
        kind=kind,
        labels=labels,
        hidden=task.hidden,
        pooling=reader.choice(task.pooling, ("cls", "mean")) if task.pooling else "cls",
        dropout_rate=reader.rate(given[0]) if given else 0.0,
    )
    return normal(head)


def write_head(head: HeadConfig, task: TaskClass, *, shared: frozenset[str]) -> dict[str, Any]:
    """The entries of config.json for a head of the class `task`; `shared`: keys that are the encoder's too."""
    entries: dict[str, Any] = {}
    if head.kind != "span":
        labels = head.labels or _numbered(head.outputs)
        entries["id2label"] = {str(i): label for i, label in enumerate(labels)}
        entries["label2id"] = {label: i for i, label in enumerate(labels)}
    if head.kind in ("multilabel", "regression"):
        entries["problem_type"] = next(name for name, kind in _KINDS.items() if kind == head.kind)
    if task.pooling:
        entries[task.pooling] = head.pooling
    if task.dropout and task.dropout[0] not in shared:
        entries[task.dropout[0]] = head.dropout_rate
    return entries


def normal(head: HeadConfig) -> HeadConfig:
    """The head without what its kind does not read: labels that name no classes, `hidden` of a head of tokens."""
    is_nameless = head.kind == "span" or (head.kind == "regression" and head.labels == _numbered(1))
    return dataclasses.replace(
        head,
        labels=() if is_nameless else head.labels,
        hidden=head.hidden if head.kind in OF_TEXTS or head.hidden == "transform" else "pooler",
    )


def _kind(reader: Reader, labels: int) -> HeadKind:
    """The kind of a class for texts, as `transformers` takes it where problem_type is null."""
    key = "problem_type"
    if reader.raw.get(key) is None:
        return "regression" if labels == 1 else "classification"
    kind = _KINDS[reader.choice(key, tuple(_KINDS))]
    if kind == "regression" and labels != 1:
        reader.fail(key, f"of one number, id2label has {labels} labels", reader.foreign)
    if kind == "classification" and labels < 2:
        reader.fail(key, f"of two classes or more, id2label has {labels}")
    return kind


def _labels(reader: Reader) -> tuple[str, ...]:
    """The names of the classes in the order of their ids."""
    raw = reader.raw
    if raw.get("id2label") is None and raw.get("label2id") is None:
        count = reader.size("num_labels", most=10**6) if raw.get("num_labels") is not None else 2
        return _numbered(count)
    key = "id2label" if raw.get("id2label") is not None else "label2id"
    given = raw[key]
    if not isinstance(given, dict) or not given:
        reader.fail(key, "an object of ids and label names")
    pairs = (
        [(i, label) for i, label in given.items()]
        if key == "id2label"
        else [(i, n) for n, i in given.items()]
    )
    by_id: dict[int, str] = {}
    for i, label in pairs:
        number = _whole(i)
        if number is None or isinstance(label, bool) or not isinstance(label, str | int):
            reader.fail(key, "of whole ids and label names")
        by_id[number] = str(label)
    count = len(pairs)
    if sorted(by_id) != list(range(count)):
        reader.fail(key, f"of {count} different ids from 0 to {count - 1}, without gaps")
    labels = tuple(by_id[i] for i in range(count))
    if len(set(labels)) < count:
        reader.fail(key, f"of {count} different names, has {len(set(labels))}")
    return labels


def _whole(value: Any) -> int | None:
    """An id, which JSON has as text where it is a key."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if type(value) is int else None


def _numbered(count: int) -> tuple[str, ...]:
    """The names that `transformers` gives classes without names."""
    return tuple(f"LABEL_{i}" for i in range(count))
