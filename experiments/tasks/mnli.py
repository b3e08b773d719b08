"""Natural language inference, pairs of three classes: MNLI of GLUE (392,702 / 9,815 matched).

    bert-jax finetune --config experiments/tasks/mnli.py --init google-bert/bert-base-uncased --workdir runs/mnli
    bert-jax evaluate --workdir runs/mnli --checkpoint best --data tfds:glue/mnli:validation_mismatched

BERT-base's settings: batch 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 on dev (Devlin et al. 2019, section 4.1).
Published, dev matched: BERT-base 84.6, RoBERTa-base 87.6, ModernBERT-base 89.1. Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.train = "tfds:glue/mnli:train"
    config.task.eval = "tfds:glue/mnli:validation_matched"
    config.optim.learning_rate = 2e-05
    return config
