"""ELECTRA as its released code trains it: replaced-token detection (Clark et al. 2020, section 3 and table 6).

    bert-jax prepare  --config experiments/electra.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/electra.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/electra

Small (`experiments/electra.py`): a discriminator of 12 layers of 256 with embedding tables of 128, and a generator of
a quarter of its width, one head of 64, over the same tables. Rows of 128, 1,000,000 steps of batch 128, learning rate
5e-4; a little over four days on one V100 then. Published for this run on OpenWebText (README of the released code),
dev: MNLI 78.9, SST-2 88.3, CoLA 56.8, QNLI 87.9, RTE 68.5.

Base (`experiments/electra.py:base`): a discriminator of BERT-base's size and a generator of a third of its width, four
heads of 64, which read tables of 768 through a projection. Rows of 512, 766,000 steps of batch 256, 2e-4. Published,
for the longer run on more text that was released, dev: MNLI 88.8, SST-2 95.1, CoLA 67.7, QNLI 93.2, RTE 82.7.

Of the predicted tokens 85 % are shown as [MASK], the others as themselves. The rate warms up for 10,000 steps and
decays from step 0 as there; while it warms up it is up to 1 % higher. Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config(size: str = "small") -> ConfigDict:
    if size not in ("small", "base"):
        raise ValueError(f"size {size!r} must be small or base")
    config = base()
    is_small = size == "small"
    config.data.path = "corpus"
    config.data.sequence_length = 128 if is_small else 512
    config.data.sentence_objective = "none"
    config.masking.mask = 0.85
    config.masking.random = 0.0
    config.masking.keep = 0.15
    config.objective.name = "rtd"
    config.objective.rtd_weight = 50.0
    config.objective.generator_width = 0.25 if is_small else 1 / 3
    config.model.preset = f"electra-{size}"
    config.model.dtype = "bfloat16"
    config.optim.name = "bert_adam"
    config.optim.schedule = "bert_linear"
    config.optim.learning_rate = 5e-4 if is_small else 2e-4
    config.optim.warmup_steps = 10_000
    config.train.steps = 1_000_000 if is_small else 766_000
    config.train.batch_size = 128 if is_small else 256
    return config
