"""DistilBERT's architecture, pretrained with masked tokens alone: the student without its teacher (Sanh et al. 2019).

    bert-jax prepare  --config experiments/distilbert.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/distilbert.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/distil

Six layers of 768, neither segment types nor pooler: 66 M parameters. Rate 5e-4, b2 0.98, no weight decay, warmup
over the first 5 %, clipping at 5, as the released training script has them; batches of 4,000 as the paper says. The
50,000 steps are this file's choice.

Published, with distillation: GLUE dev macro average 77.0 against BERT-base's 79.5. Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config() -> ConfigDict:
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 512
    config.data.sentence_objective = "none"
    config.data.format = "full_sentences"
    config.model.preset = "distilbert"
    config.model.dtype = "bfloat16"
    config.optim.learning_rate = 5e-4
    config.optim.b2 = 0.98
    config.optim.weight_decay = 0.0
    config.optim.clip_norm = 5.0
    config.optim.warmup_steps = 2_500
    config.train.steps = 50_000
    config.train.batch_size = 4000
    return config
