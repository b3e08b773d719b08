"""Linguistic acceptability, two classes: CoLA of GLUE (8,551 / 1,043).

    bert-jax finetune --config experiments/tasks/cola.py --init google-bert/bert-base-uncased --workdir runs/cola

BERT-base's settings: batch 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 on dev (Devlin et al. 2019, section 4.1). Seeds differ by points: run several.
Published, dev: BERT-base 59.0 Matthews correlation (x 100), RoBERTa-base 63.6, ModernBERT-base 65.1. Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.train = "tfds:glue/cola:train"
    config.task.eval = "tfds:glue/cola:validation"
    config.task.select = "matthews"
    config.optim.learning_rate = 2e-05
    return config
