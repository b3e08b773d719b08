"""Sentiment of movie reviews, two classes: SST-2 of GLUE (67,349 / 872).

    bert-jax finetune --config experiments/tasks/sst2.py --init google-bert/bert-base-uncased --workdir runs/sst2

BERT-base's settings: batch 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 on dev (Devlin et al. 2019, section 4.1).
Published, dev: BERT-base 92.7 accuracy, RoBERTa-base 94.8, ModernBERT-base 96.0. Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.train = "tfds:glue/sst2:train"
    config.task.eval = "tfds:glue/sst2:validation"
    config.optim.learning_rate = 2e-05
    return config
