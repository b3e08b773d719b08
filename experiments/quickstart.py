"""A tiny ModernBERT on the documentation that is already on this machine: MLM and sentence order.

    bash launch/quickstart.sh

which runs
    bert-jax prepare  --config experiments/quickstart.py
    bert-jax pretrain --config experiments/quickstart.py --workdir runs/quickstart

2 layers of 128, vocabulary 8,192, rows of 64; about three minutes on two CPU cores. The held-out MLM
loss starts at ln(8192) = 9.0 nats; README.md has what it ends at.

`experiments/quickstart.py:nsp` and `:none` are the other variants of the ablation, over the same corpus.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config(sentence_objective: str = "sop") -> ConfigDict:
    config = base()
    config.data.sentence_objective = sentence_objective
    config.data.sequence_length = 64
    config.tokenizer.vocab_size = 8192
    # ModernBERT's block: a norm before each part, rotary positions, a gated MLP, no biases. With BERT's own the same
    # steps end a nat higher (experiments/bert_tiny.py), for attention must first learn which positions are near.
    config.model.preset = "ettin-17m"
    config.model.num_layers = 2
    config.model.hidden_size = 128
    config.model.num_heads = 2
    config.model.mlp_size = 344
    config.model.max_positions = 512
    config.model.pattern = ("global",)
    config.model.rotary.base = 10_000.0
    config.model.rotary.local_base = 10_000.0
    config.model.initializer = "normal"
    # At width 128 the published 0.02 leaves attention all but uniform: 0.02 * sqrt(768 / 128) gives its
    # logits the spread they start with in BERT-base, and minutes suffice to leave the unigram plateau.
    config.model.initializer_range = 0.05
    config.model.pooler = "none" if sentence_objective == "none" else "tanh"
    # What paid in experiments/sweeps/recipe.py: more masks, and Muon at a high rate. The last steps have BERT's 15 %, so that
    # the last held-out loss compares with others.
    config.phases = ({"share": 0.85, "masking_rate": 0.3}, {"share": 0.15})
    config.optim.name = "muon"
    config.optim.learning_rate = 4e-3
    config.optim.b2 = 0.98
    config.optim.warmup_steps = 100
    config.train.steps = 1300
    config.train.batch_size = 32
    config.train.log_every = 20
    config.train.eval_every = 200
    config.train.eval_batches = 20
    config.checkpoint.every = 200
    return config
