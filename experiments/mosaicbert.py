"""MosaicBERT-base: BERT with ALiBi and gated MLPs, trained in half a day (Portes et al. 2023, and the released settings).

    bert-jax prepare  --config experiments/mosaicbert.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/mosaicbert.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/mosaic

70,000 steps of 4,096 rows of 128 tokens, 30 % of them predicted; AdamW at 5e-4, b2 0.98, weight decay 1e-5 apart from the
rate, 6 % of warmup, then linearly to 2 % of the peak; no dropout in attention. ALiBi has no longest sequence:
--config.data.sequence_length may grow later.

Published: GLUE dev MNLI 85.6, SST-2 93.5, CoLA 58.2, RTE 83.0; BERT-base by the same recipe 83.3 on average after 11.5 hours on
8 A100. Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config() -> ConfigDict:
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 128
    config.data.sentence_objective = "none"
    config.data.format = "full_sentences"
    config.data.short_sequence_probability = 0.0
    config.tokenizer.vocab_size = 30528
    config.masking.rate = 0.3
    config.model.preset = "mosaicbert-base"
    config.model.dtype = "bfloat16"
    config.optim.learning_rate = 5e-4
    config.optim.floor = 0.02
    config.optim.warmup_steps = 4200
    config.optim.weight_decay = 1e-5
    config.optim.weight_decay_by = "schedule"
    config.optim.clip_norm = 0.0
    config.optim.b2 = 0.98
    config.train.steps = 70_000
    config.train.batch_size = 4096
    return config
