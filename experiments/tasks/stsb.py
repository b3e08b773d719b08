"""Similarity of two sentences, 0 to 5, by regression on the pair: STS-B of GLUE (5,749 / 1,500).

    bert-jax finetune --config experiments/tasks/stsb.py --init google-bert/bert-base-uncased --workdir runs/stsb

BERT-base's settings: batch 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 on dev (Devlin et al. 2019, section 4.1).
Published, dev: BERT-base 89.4 Spearman correlation (x 100), RoBERTa-base 91.2. Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.kind = "regression"
    config.task.train = "tfds:glue/stsb:train"
    config.task.eval = "tfds:glue/stsb:validation"
    config.task.select = "spearman"
    config.optim.learning_rate = 2e-05
    return config
