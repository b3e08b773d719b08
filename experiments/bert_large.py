"""BERT-large as published: MLM and next-sentence prediction, rows of 128, then of 512 (Devlin et al. 2019, A.2).

    bert-jax prepare  --config experiments/bert_large.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/bert_large.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/large

As experiments/bert_base.py with 24 layers of 1024; 64 TPU chips for four days then. Layers are scanned
and recomputed, which compiles fast and fits batch 256 on few devices: set layers=loop and remat=none
where memory allows.

Published: GLUE test average 82.1. Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config() -> ConfigDict:
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 512
    config.phases = ({"share": 0.9, "sequence_length": 128}, {"share": 0.1})
    config.model.preset = "bert-large"
    config.model.dtype = "bfloat16"
    config.model.layers = "scan"
    config.model.remat = "full"
    config.optim.name = "bert_adam"
    config.optim.schedule = "bert_linear"
    config.train.steps = 1_000_000
    return config
