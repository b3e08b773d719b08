"""Named entities of news, four types: CoNLL-2003 (Tjong Kim Sang and De Meulder 2003; 14,041 / 3,250 / 3,453).

    bert-jax finetune --config experiments/tasks/conll2003.py --init google-bert/bert-base-cased --workdir runs/conll2003
    bert-jax evaluate --workdir runs/conll2003 --checkpoint best --split test

A cased model, for capital letters mark names. BERT's settings of fine-tuning: batch 32, the best of a few learning
rates on dev (Devlin et al. 2019, section 5.3); sentences are read alone, not with the document around them.
Published, F1 of entities (x 100), dev and test: BERT-base 96.4 and 92.4, BERT-large 96.6 and 92.8, both with document
context; others' runs of BERT-base without it reach 91.1 to 92.6 on test. Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.kind = "tagging"
    config.task.train = "tfds:conll2003:train"
    config.task.eval = "tfds:conll2003:dev"
    config.task.test = "tfds:conll2003:test"
    config.task.label = "ner"
    config.optim.learning_rate = 5e-05
    return config
