"""Topics of news, four classes: AG News (120,000 / 7,600; Zhang, Zhao and LeCun 2015), title and description as one pair.

    bert-jax finetune --config experiments/tasks/ag_news.py --init google-bert/bert-base-uncased --workdir runs/ag_news

Published, test accuracy: about 94.7 with BERT-base (Sun et al. 2019, whose settings are batch 24, 2e-5, 4 epochs). Not yet
run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.train = "tfds:ag_news_subset:train"
    config.task.eval = "tfds:ag_news_subset:test"
    config.task.text = "title"
    config.task.text_pair = "description"
    config.train.batch_size = 24
    config.train.epochs = 4.0
    config.optim.learning_rate = 2e-05
    return config
