"""Duplicate questions, pairs of two classes: QQP of GLUE (363,846 / 40,430).

    bert-jax finetune --config experiments/tasks/qqp.py --init google-bert/bert-base-uncased --workdir runs/qqp

BERT-base's settings: batch 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 on dev (Devlin et al. 2019, section 4.1).
Published, dev: BERT-base 91.4 accuracy, RoBERTa-base 91.9. Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.train = "tfds:glue/qqp:train"
    config.task.eval = "tfds:glue/qqp:validation"
    config.task.select = "f1"
    config.optim.learning_rate = 2e-05
    return config
