"""Coreference as inference, pairs of two classes: WNLI of GLUE (635 / 71).

    bert-jax finetune --config experiments/tasks/wnli.py --init google-bert/bert-base-uncased --workdir runs/wnli

BERT-base's settings: batch 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 on dev (Devlin et al. 2019, section 4.1). Dev sentences are those of train with other labels, so most models stay at 56.3 (always one class). Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.train = "tfds:glue/wnli:train"
    config.task.eval = "tfds:glue/wnli:validation"
    config.train.epochs = 5.0
    config.optim.learning_rate = 2e-05
    return config
