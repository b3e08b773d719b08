"""ModernBERT-large as published: three phases of a run that begins with the base model (Warner et al. 2024, tables 3, 4).

    bert-jax prepare  --config experiments/modernbert_large.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/modernbert_large.py --config.data.path='corpus/*.jsonl.gz' --init runs/modern \\
        --config.init.growth=tile --workdir runs/modern-large

As `modernbert_base.py`, and: the parameters of the base model, tiled; batches of 4,928 rows, from 448 over the first 10 B
tokens; 900 B tokens at rate 5e-4 after 2 B of warmup, then 800 B at 5e-5, with weight decay 1e-5; 250 B and 50 B tokens in
616 rows of 8,192 at 5e-5. The published run went back to an earlier checkpoint before it lowered its rate, and then
decayed weights by 1e-6; here the rate steps down in a straight run, and the decay stays.

Published: 425.3 + 80.7 + 21.7 hours on 8 H100; dev MNLI 90.8, SST-2 97.1, CoLA 71.4, RTE 92.1 (table 5). Not yet trained with
this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base

SIZES = (448, 1344, 2240, 3136, 4032)  # rows of a batch before the last, 4,928
RAMP = round(10e9 / (1024 * sum(SIZES)))  # updates of each
FIRST, SECOND = (round(tokens / (1024 * 4928)) for tokens in (890e9, 800e9))
LONG, LAST = (round(tokens / (8192 * 616)) for tokens in (250e9, 50e9))


def get_config() -> ConfigDict:
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 1024
    config.data.packing = 32
    config.data.sentence_objective = "none"
    config.data.format = "doc_sentences"
    config.data.short_sequence_probability = 0.0
    config.tokenizer.kind = "bpe"
    config.tokenizer.vocab_size = 50368
    config.tokenizer.lowercase = False
    config.masking.rate = 0.3
    config.model.preset = "modernbert-large"
    config.model.rotary.base = 10_000.0
    config.model.dropout_rate = 0.1
    config.model.dropout_at = ("attention",)
    config.model.dtype = "bfloat16"
    config.model.remat = "full"
    config.optim.name = "stable_adamw"
    config.optim.learning_rate = 5e-4
    config.optim.schedule = "constant"
    config.optim.warmup_steps = 2 * RAMP + round((2e9 - 1024 * RAMP * sum(SIZES[:2])) / (1024 * SIZES[2]))
    config.optim.weight_decay = 1e-5
    config.optim.weight_decay_by = "schedule"
    config.optim.clip_norm = 0.0
    config.optim.b2 = 0.98
    config.train.batch_size = 4928
    steps = config.train.steps = len(SIZES) * RAMP + FIRST + SECOND + LONG + LAST
    long = {"sequence_length": 8192, "batch_size": 616, "packing": 128, "rotary_base": 160_000.0}
    config.phases = (
        *({"share": RAMP / steps, "batch_size": size} for size in SIZES),
        {"share": FIRST / steps},
        {"share": SECOND / steps, "learning_rate": 5e-5},
        {"share": LONG / steps, **long},
        {
            "share": LAST / steps,
            "schedule": "wsd",
            "decay_share": 1.0,
            "decay_curve": "sqrt",
            "floor": 0.001,
            **long,
        },
    )
    return config
