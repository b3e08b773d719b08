"""Crammed BERT: the best that a day on one GPU gives (Geiping and Goldstein 2023, and the released code's bert-o4).

    bert-jax prepare  --config experiments/crammed.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/crammed.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/crammed

Rows of 128, 25 % of the tokens predicted, no dropout; Adam at 1e-3, b2 0.98, eps 1e-12, weight decay 0.01, clipping at
0.5; the batch grows to 8,192 rows over 60 % of the run, the rate rises over three quarters of it and falls to zero over the
last. The published run ends with its day, whatever it has seen by then: 30,000 steps, 22 B tokens, are this file's
choice: set config.train.steps by the speed of your machine. Its rate starts at a quarter of the peak, here near
zero; its output layer has no bias.

Published: GLUE with 5 epochs and one setting for all tasks. Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base

SIZES = tuple(range(1024, 8192, 1024))  # rows of a batch before the last


def get_config() -> ConfigDict:
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 128
    config.data.sentence_objective = "none"
    config.data.format = "full_sentences"
    config.data.short_sequence_probability = 0.0
    config.tokenizer.vocab_size = 32768
    config.masking.rate = 0.25
    config.model.preset = "crammed-bert"
    config.model.dtype = "bfloat16"
    config.optim.learning_rate = 1e-3
    config.optim.warmup_steps = 22_500
    config.optim.weight_decay = 0.01
    config.optim.clip_norm = 0.5
    config.optim.b2 = 0.98
    config.optim.eps = 1e-12
    config.train.steps = 30_000
    config.train.batch_size = 8192
    config.phases = (
        *({"share": 0.6 / len(SIZES), "batch_size": size} for size in SIZES),
        {"share": 0.4},
    )
    return config
