"""Entailment, pairs of two classes: RTE of GLUE (2,490 / 277). Begins with a model that has learnt MNLI.

    bert-jax finetune --config experiments/tasks/mnli.py --init google-bert/bert-base-uncased --workdir runs/mnli
    bert-jax finetune --config experiments/tasks/rte.py  --init runs/mnli --workdir runs/rte --seeds 0,1,2,3,4

Papers that report over 80 here start from MNLI, and do not always say so; from the pretrained model alone expect 66 to 70
with BERT-base. The head is a new one: MNLI has three classes. Seeds differ by points: run several.

Published, dev: BERT-base 69.3 (not from MNLI), RoBERTa-base 78.7, ModernBERT-base 87.4 (from MNLI). Not yet run with
this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.train = "tfds:glue/rte:train"
    config.task.eval = "tfds:glue/rte:validation"
    config.tuning.head = "fresh"
    config.train.epochs = 5.0
    config.optim.learning_rate = 2e-5
    return config
