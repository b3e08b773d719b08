"""Vectors whose cosine says how alike two sentences are: STS-B of GLUE (5,749 / 1,500), each sentence encoded alone.

    bert-jax finetune --config experiments/tasks/similarity.py --init google-bert/bert-base-uncased --workdir runs/similarity

The settings of sentence-BERT: mean pooling, squared error of the cosine, batch 16, 2e-5, 10 % warmup (Reimers and
Gurevych 2019, section 3); it trains one epoch on NLI and four on STS-B. `--config.task.loss=cosent` learns the order of
the pairs alone.
Published, Spearman correlation (x 100) on the test set, mean of ten seeds: SBERT-base 84.67 without NLI, 85.35 after
NLI; BERT-base that reads both sentences together 84.30 (their table 2). BERT-base is not yet run with this
code. all-MiniLM-L6-v2 as --init, one epoch, batch 32: 86.7 on dev before, 89.0 after, in 6.5 minutes of processor time.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.kind = "similarity"
    config.task.train = "tfds:glue/stsb:train"
    config.task.eval = "tfds:glue/stsb:validation"
    config.task.pooling = "mean"
    config.train.batch_size = 16
    config.train.epochs = 4.0
    config.optim.learning_rate = 2e-05
    return config
