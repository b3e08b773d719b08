"""Paraphrases, pairs of two classes: MRPC of GLUE (3,668 / 408).

    bert-jax finetune --config experiments/tasks/mrpc.py --init google-bert/bert-base-uncased --workdir runs/mrpc

BERT-base's settings: batch 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 on dev (Devlin et al. 2019, section 4.1). Five epochs, as small sets need.
Published, dev: BERT-base-cased 84.1 accuracy, 88.9 F1. Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.train = "tfds:glue/mrpc:train"
    config.task.eval = "tfds:glue/mrpc:validation"
    config.task.select = "f1"
    config.train.epochs = 5.0
    config.optim.learning_rate = 2e-05
    return config
