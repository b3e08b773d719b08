"""Which task a configuration stands for: the one place that asks for what is trained by name."""

from __future__ import annotations

from bert_jax.config import FinetuneConfig, PretrainConfig
from bert_jax.config.finetune import TaskKind
from bert_jax.tasks import similarity, texts
from bert_jax.tasks.electra import ReplacedTokenDetection
from bert_jax.tasks.finetuning import Finetuning
from bert_jax.tasks.pretraining import Pretraining
from bert_jax.tasks.question_answering import QuestionAnswering
from bert_jax.tasks.tagging import Tagging
from bert_jax.training.task import Metric

_BY_OBJECTIVE: dict[str, type[Pretraining]] = {"mlm": Pretraining, "rtd": ReplacedTokenDetection}
_BY_KIND: dict[TaskKind, type[Finetuning]] = {
    "classification": texts.Classification,
    "multilabel": texts.Multilabel,
    "regression": texts.Regression,
    "tagging": Tagging,
    "similarity": similarity.Similarity,
    "question_answering": QuestionAnswering,
}


def task_of(config: PretrainConfig, *, experiment: str = "FILE") -> Pretraining:
    """The task of `config`. Opens no data and touches no device.

    experiment: what follows `--config` in the command that prepares the corpus, for messages.
    """
    return _BY_OBJECTIVE[config.objective.name](config, experiment=experiment)


def finetuning_of(config: FinetuneConfig) -> type[Finetuning]:
    """The kind of fine-tuning of `config`."""
    return _BY_KIND[config.task.kind]


def select_of(config: FinetuneConfig) -> Metric:
    """The score that the best checkpoint has the best of; raises as `Finetuning.selected`."""
    return finetuning_of(config).selected(config)
