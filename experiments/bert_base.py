"""BERT-base as published, phase one: MLM and next-sentence prediction on rows of 128 (Devlin et al. 2019, A.2).

    bert-jax prepare  --config experiments/bert_base.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/bert_base.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/base

900,000 of the paper's 1,000,000 steps, batch 256, learning rate 1e-4, 10,000 steps of warmup, 16 TPU
chips for four days then. `experiments/bert_base.py:512` is the same model on rows of 512.

Published (12 layers of 768): masked-token perplexity 3.99, GLUE dev MNLI-m 84.4, SST-2 92.7.
Not yet trained with this code.
"""

from bert_jax.config import base


def get_config(sequence_length="128"):
    config = base()
    config.data.source = "files"
    config.data.path = "corpus"
    config.data.sequence_length = int(sequence_length)
    config.model.dtype = "bfloat16"
    config.optim.name = "bert_adam"
    config.optim.schedule = "bert_linear"
    config.train.steps = 900_000
    return config
