"""BERT-tiny by BERT's own block on the documentation that is already on this machine: what tiny sweeps begin from.

    bert-jax prepare  --config experiments/bert_tiny.py
    bert-jax pretrain --config experiments/bert_tiny.py --workdir runs/tiny

2 layers of 128, vocabulary 8,192, rows of 64; about three minutes on two CPU cores. The held-out MLM loss goes from
ln(8192) = 9.0 to 5.9 nats. `experiments/quickstart.py` has the same size and budget with a modern block.

`experiments/bert_tiny.py:nsp` and `:none` are the other variants of the ablation, over the same corpus.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config(sentence_objective: str = "sop") -> ConfigDict:
    config = base()
    config.data.sentence_objective = sentence_objective
    config.data.sequence_length = 64
    config.tokenizer.vocab_size = 8192
    config.model.preset = "bert-tiny"
    # At width 128 the published 0.02 leaves attention all but uniform: 0.02 * sqrt(768 / 128) gives its
    # logits the spread they start with in BERT-base, and minutes suffice to leave the unigram plateau.
    config.model.initializer_range = 0.05
    config.model.dropout_rate = 0.0  # it sees no more than an epoch: nothing to overfit
    config.model.attention_dropout_rate = 0.0
    config.optim.learning_rate = 2e-3
    config.optim.b2 = 0.98
    config.optim.clip_norm = 0.0
    config.optim.warmup_steps = 100
    config.train.steps = 1300
    config.train.batch_size = 32
    config.train.log_every = 20
    config.train.eval_every = 200
    config.train.eval_batches = 20
    config.checkpoint.every = 200
    return config
