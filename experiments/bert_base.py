"""BERT-base as published: MLM and next-sentence prediction, rows of 128, then of 512 (Devlin et al. 2019, A.2).

    bert-jax prepare  --config experiments/bert_base.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/bert_base.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/base

1,000,000 steps of batch 256, nine tenths of them on rows of 128 and the rest on rows of 512 "to learn the
positional embeddings"; learning rate 1e-4, 10,000 steps of warmup; 16 TPU chips for four days then.

Published (12 layers of 768): masked-token perplexity 3.99, GLUE dev MNLI-m 84.4, SST-2 92.7.
Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config() -> ConfigDict:
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 512
    config.phases = ({"share": 0.9, "sequence_length": 128}, {"share": 0.1})
    config.model.dtype = "bfloat16"
    config.optim.name = "bert_adam"
    config.optim.schedule = "bert_linear"
    config.train.steps = 1_000_000
    return config
