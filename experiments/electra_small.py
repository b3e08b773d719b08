"""ELECTRA-small as its released code trains it: replaced-token detection on rows of 128 (Clark et al. 2020,
section 3 and table 6).

    bert-jax prepare  --config experiments/electra_small.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/electra_small.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/x

A discriminator of 12 layers of 256 with embedding tables of 128, and a generator of a quarter of its width, one
head of 64, over the same tables. 1,000,000 steps of batch 128, learning rate 5e-4, 10,000 steps of warmup; a little
over four days on one V100 then. Of the predicted tokens 85 % are shown as [MASK], the others as themselves. The
rate decays from step 0 as there; while it warms up it is up to 1 % higher.

Published for this run on OpenWebText (README of the released code), dev: MNLI 78.9, SST-2 88.3, CoLA 56.8, QNLI
87.9, RTE 68.5; decent after 200,000 steps, it says. Not yet trained with this code.
"""

from bert_jax.config import base


def get_config():
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 128
    config.data.sentence_objective = "none"
    config.masking.mask = 0.85
    config.masking.random = 0.0
    config.masking.keep = 0.15
    config.objective.name = "rtd"
    config.objective.rtd_weight = 50.0
    config.objective.generator_width = 0.25
    config.model.preset = "electra-small"
    config.model.dtype = "bfloat16"
    config.optim.name = "bert_adam"
    config.optim.schedule = "bert_linear"
    config.optim.learning_rate = 5e-4
    config.optim.warmup_steps = 10_000
    config.train.steps = 1_000_000
    config.train.batch_size = 128
    return config
