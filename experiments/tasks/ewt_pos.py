"""Parts of speech of web text, 17 classes: Universal Dependencies' English Web Treebank (12,544 / 2,001 / 2,077).

    bert-jax finetune --config experiments/tasks/ewt_pos.py --init google-bert/bert-base-cased --workdir runs/ewt_pos
    bert-jax evaluate --workdir runs/ewt_pos --checkpoint best --split test

The files are on https://github.com/UniversalDependencies/UD_English-EWT: put them into ewt/ (.gz may follow), or name
others by config.task.train, eval and test. Other columns are tagged by config.task.label: xpos for the 50 tags of the
Penn Treebank. Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.kind = "tagging"
    config.task.scheme = "none"
    config.task.train = "ewt/en_ewt-ud-train.conllu"
    config.task.eval = "ewt/en_ewt-ud-dev.conllu"
    config.task.test = "ewt/en_ewt-ud-test.conllu"
    config.optim.learning_rate = 5e-05
    return config
