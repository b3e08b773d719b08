"""Novel entities in noisy text, six types: WNUT 2017's shared task (Derczynski et al. 2017; 3,394 / 1,009 / 1,287).

    bert-jax finetune --config experiments/tasks/wnut17.py --init google-bert/bert-base-uncased --workdir runs/wnut17
    bert-jax evaluate --workdir runs/wnut17 --checkpoint best --split test

The files are on https://github.com/leondz/emerging_entities: put them into wnut17/, or name others by config.task.train,
eval and test. Entities of dev and test are rare in train, so that F1 is low and moves by points from seed to seed: run
several (--seeds 0,1,2,3,4) and report the mean.
Published, test F1 of entities (x 100): 41.86, the best of the shared task; BERTweet-base, pretrained on tweets, 56.5.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.kind = "tagging"
    config.task.train = "wnut17/wnut17train.conll"
    config.task.eval = "wnut17/emerging.dev.conll"
    config.task.test = "conll:wnut17/emerging.test.annotated"
    config.train.epochs = 5.0
    config.optim.learning_rate = 5e-05
    return config
