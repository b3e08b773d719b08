"""Which task a configuration stands for: the one place that asks for what is trained by name."""

from __future__ import annotations

from bert_jax.config import PretrainConfig
from bert_jax.tasks.electra import ReplacedTokenDetection
from bert_jax.tasks.pretraining import Pretraining

_BY_OBJECTIVE: dict[str, type[Pretraining]] = {"mlm": Pretraining, "rtd": ReplacedTokenDetection}


def task_of(config: PretrainConfig, *, experiment: str = "FILE") -> Pretraining:
    """The task of `config`. Opens no data and touches no device.

    experiment: what follows `--config` in the command that prepares the corpus, for messages.
    """
    return _BY_OBJECTIVE[config.objective.name](config, experiment=experiment)
