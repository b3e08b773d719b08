"""What the tests of every kind of fine-tuning do alike: a configuration from a few values, and its task."""

from collections.abc import Mapping
from typing import Any

from bert_jax import config as configs
from bert_jax.config import FinetuneConfig
from bert_jax.tasks.finetune import open_task


def resolved(groups: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> FinetuneConfig:
    """The defaults, without sinks, changed by `groups`, then by values such as task__label."""
    raw = configs.base(FinetuneConfig).to_dict()
    raw["log"]["sinks"] = ()
    for group, entries in groups.items():
        raw[group] |= entries
    for key, value in values.items():
        group, name = key.split("__")
        raw[group][name] = value
    return configs.resolve(raw, FinetuneConfig)


def task_of(config, made, tmp_path):
    """The task of a new run that begins with the model in `made`."""
    return open_task(config, tmp_path / "none", (made / "model",))
