"""ALBERT-base: shared layers, factorised embeddings, sentence order, masked n-grams (Lan et al. 2020, sections 3, 4.1).

    bert-jax prepare  --config experiments/albert_base.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/albert_base.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/albert

125,000 steps of batch 4,096 on rows of 512, LAMB at 1.76e-3 after 3,125 steps of warmup, a Unigram vocabulary of
30,000, n-grams of up to three words. Dropout as in version 1 (version 2: preset albert-base-v2). Published with these shared layers (table 4, E = 128): 12 M
parameters, average 80.1; `:attention`, `:ffn` and `:none` share less: 81.7, 80.2, 81.6.

Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config(sharing: str = "all") -> ConfigDict:
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 512
    config.data.sentence_objective = "sop"
    config.tokenizer.kind = "unigram"
    config.tokenizer.vocab_size = 30000
    config.masking.unit = "ngram"
    config.model.preset = "albert-base-v1"
    config.model.sharing = sharing
    config.model.dtype = "bfloat16"
    config.optim.name = "lamb"
    config.optim.learning_rate = 1.76e-3
    config.optim.warmup_steps = 3_125
    config.train.steps = 125_000
    config.train.batch_size = 4096
    return config
