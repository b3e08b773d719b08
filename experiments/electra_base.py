"""ELECTRA-base as published: replaced-token detection on rows of 512 (Clark et al. 2020, section 3, table 6).

    bert-jax prepare  --config experiments/electra_base.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/electra_base.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/x

A discriminator of BERT-base's size and a generator of a third of its width: four heads of 64, which read the
discriminator's tables of 768 through a projection. 766,000 steps of batch 256, learning rate 2e-4, 10,000 steps of
warmup; 16 TPU v3 for four days then. Masks and optimizer as in experiments/electra_small.py.

Published, for the longer run on more text that was released (README of the released code), dev: MNLI 88.8, SST-2
95.1, CoLA 67.7, QNLI 93.2, RTE 82.7. Not yet trained with this code.
"""

from bert_jax.config import base


def get_config():
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 512
    config.data.sentence_objective = "none"
    config.masking.mask = 0.85
    config.masking.random = 0.0
    config.masking.keep = 0.15
    config.objective.name = "rtd"
    config.objective.rtd_weight = 50.0
    config.objective.generator_width = 1 / 3
    config.model.preset = "electra-base"
    config.model.dtype = "bfloat16"
    config.optim.name = "bert_adam"
    config.optim.schedule = "bert_linear"
    config.optim.learning_rate = 2e-4
    config.optim.warmup_steps = 10_000
    config.train.steps = 766_000
    config.train.batch_size = 256
    return config
