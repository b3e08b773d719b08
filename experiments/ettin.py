"""Ettin's encoders, ModernBERT's recipe on open data at six sizes (Weller et al. 2025, and the released settings).

    bert-jax prepare  --config experiments/ettin.py:17m --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/ettin.py:17m --config.data.path='corpus/*.jsonl.gz' --workdir runs/ettin-17m

`:17m`, `:32m`, `:68m`, `:150m`, `:400m`, `:1b`. Three phases: 1.7 T tokens in rows of 1,024 at a constant rate after a
warmup and a ramp of the batch; 250 B in rows of 8,192 (published 7,999), the rate falling as 1 - sqrt to a half; 50 B, to
0.04 of that half, with 15 % of the tokens predicted in place of 30 %. All layers turn by base 160,000 from the second
phase on. The batch is ModernBERT-base's 4,608 rows, for none was found for these.

Published: 141, 212, 300, 470, 950 and 2,170 hours on 4 H100; GLUE dev 88.9 (150m), 90.8 (400m). Not yet trained with
this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base

# Size: peak rate, weight decay, tokens of warmup, tokens of the batch's ramp.
RECIPES = {
    "17m": (3e-3, 3e-4, 4e9, 125e9),
    "32m": (3e-3, 3e-4, 4e9, 100e9),
    "68m": (3e-3, 3e-4, 3e9, 75e9),
    "150m": (8e-4, 1e-5, 3e9, 50e9),
    "400m": (5e-4, 1e-5, 2e9, 10e9),
    "1b": (5e-4, 5e-5, 2e9, 10e9),
}
SIZES = (768, 1536, 2304, 3072, 3840)  # rows of a batch before the last, 4,608


def updates(tokens: float, each: int) -> int:
    """The first updates that take so many tokens, of which `each` have the batches of each size."""
    count = 0
    for rows in SIZES:
        if tokens < 1024 * each * rows:
            return count + round(tokens / (1024 * rows))
        tokens -= 1024 * each * rows
        count += each
    return count


def get_config(size: str = "17m") -> ConfigDict:
    if size not in RECIPES:
        raise ValueError(f"size {size!r} must be one of {', '.join(RECIPES)}")
    rate, decay, warmup, ramp = RECIPES[size]
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
    config.model.preset = f"ettin-{size}"
    config.model.rotary.base = 10_000.0
    config.model.rotary.local_base = 10_000.0
    config.model.dropout_rate = 0.1
    config.model.dropout_at = ("attention",)
    config.model.dtype = "bfloat16"
    config.optim.name = "stable_adamw"
    config.optim.learning_rate = rate
    config.optim.schedule = "constant"
    config.optim.weight_decay = decay
    config.optim.weight_decay_by = "schedule"
    config.optim.clip_norm = 0.0
    config.optim.b2 = 0.98
    config.train.batch_size = 4608
    each = round(ramp / (1024 * sum(SIZES)))
    config.optim.warmup_steps = updates(warmup, each)
    first = round((1.7e12 - ramp) / (1024 * 4608))
    long, last = (round(tokens / (8192 * 576)) for tokens in (250e9, 50e9))
    steps = config.train.steps = len(SIZES) * each + first + long + last
    falling = {"schedule": "wsd", "decay_share": 1.0, "decay_curve": "sqrt"}
    falling |= {"sequence_length": 8192, "batch_size": 576, "packing": 128}
    falling |= {"rotary_base": 160_000.0, "rotary_local_base": 160_000.0}
    config.phases = (
        *({"share": each / steps, "batch_size": rows} for rows in SIZES),
        {"share": first / steps},
        {"share": long / steps, "floor": 0.5, **falling},
        {"share": last / steps, "learning_rate": rate / 2, "floor": 0.04, "masking_rate": 0.15, **falling},
    )
    return config
