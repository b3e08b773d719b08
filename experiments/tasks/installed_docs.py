"""Which installed package a paragraph of documentation comes from: a labelled set that needs no download.

    bert-jax finetune --config experiments/tasks/installed_docs.py --init runs/quickstart --workdir runs/package
    bert-jax finetune --config experiments/tasks/installed_docs.py --init runs/quickstart --workdir runs/package-random \\
        --config.tuning.weights=random

Whole modules are held out, and the packages' names are masked in the text. The second command trains the same
architecture from random weights: the difference is what pretraining gave.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.train = "installed_docs:package:train"
    config.task.eval = "installed_docs:package:eval"
    config.optim.learning_rate = 2e-4
    config.train.epochs = 3.0
    return config
