"""RoBERTa-base as published: masked tokens alone, full sentences of 512, batches of 8,192 (Liu et al. 2019, table 9).

    bert-jax prepare  --config experiments/roberta_base.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/roberta_base.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/roberta

500,000 steps, peak rate 6e-4 after 24,000 steps of warmup, Adam with b2 0.98 and no clipping; a byte-level BPE
of 50,265 entries, case kept; random replacements are drawn from the ordinary entries (fairseq). Published on
160 GB of text: MNLI 87.6, SST-2 94.8, QNLI 92.8 (dev). `experiments/roberta_base.py:short` is the recipe of the
paper's table 3 that costs what BERT-base did: batch 2,048, 125,000 steps, rate 7e-4: perplexity 3.68, MNLI 85.2.

Where a batch does not fit: config.train.accumulate. Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config(recipe: str = "long") -> ConfigDict:
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 512
    config.data.sentence_objective = "none"
    config.data.format = "full_sentences"
    config.data.short_sequence_probability = 0.0
    config.tokenizer.kind = "bpe"
    config.tokenizer.vocab_size = 50265
    config.tokenizer.lowercase = False
    config.masking.random_from = "ordinary"
    config.model.preset = "roberta-base"
    config.model.dtype = "bfloat16"
    config.optim.b2 = 0.98
    config.optim.clip_norm = 0.0
    if recipe not in ("long", "short"):
        raise ValueError(f"recipe {recipe!r} must be long or short")
    short = recipe == "short"
    config.optim.learning_rate = 7e-4 if short else 6e-4
    config.optim.warmup_steps = 10_000 if short else 24_000
    config.train.steps = 125_000 if short else 500_000
    config.train.batch_size = 2048 if short else 8192
    return config
