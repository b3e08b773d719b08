"""A tiny BERT on the documentation that is already on this machine: MLM and sentence order.

    bash launch/quickstart.sh

which runs
    bert-jax prepare  --config experiments/quickstart.py
    bert-jax pretrain --config experiments/quickstart.py --workdir runs/quickstart

2 layers of 128, vocabulary 8,192, rows of 128; three to four minutes on two CPU cores. The held-out MLM
loss starts at ln(8192) = 9.0 nats; README.md has what it ends at. So small a model learns no sentence
order in minutes: expect a pair accuracy near one half.

`experiments/quickstart.py:nsp` and `:none` are the other arms of the ablation, over the same corpus.
"""

from bert_jax.config import base


def get_config(sentence_objective="sop"):
    config = base()
    config.data.source = "installed_docs"
    config.data.sentence_objective = sentence_objective
    config.tokenizer.vocab_size = 8192
    config.model.preset = "bert-tiny"
    config.model.dropout_rate = 0.0  # it sees a part of one epoch: nothing to overfit
    config.model.attention_dropout_rate = 0.0
    config.optim.learning_rate = 3e-3
    config.optim.warmup_steps = 100
    config.train.steps = 800
    config.train.batch_size = 32
    config.train.log_every = 20
    config.train.eval_every = 100
    config.train.eval_batches = 20
    config.checkpoint.every = 100
    return config
