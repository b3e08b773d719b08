"""Does a sentence answer a question, pairs of two classes: QNLI of GLUE (104,743 / 5,463).

    bert-jax finetune --config experiments/tasks/qnli.py --init google-bert/bert-base-uncased --workdir runs/qnli

BERT-base's settings: batch 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 on dev (Devlin et al. 2019, section 4.1).
Published, dev: BERT-base 91.6 accuracy, RoBERTa-base 92.8. Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.train = "tfds:glue/qnli:train"
    config.task.eval = "tfds:glue/qnli:validation"
    config.optim.learning_rate = 2e-05
    return config
