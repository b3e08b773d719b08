"""Distillation on two CPU cores, in minutes, from the model that the quickstart trains.

    bash launch/quickstart.sh
    . .venv/bin/activate; export BERT_JAX_DATA=runs/corpora
    bert-jax distill --config experiments/distil/quick.py --teacher runs/quickstart --workdir runs/quick-student

The student is the quickstart's teacher with one of its two layers: soft targets at the masked tokens, MLM, and the cosine of
the last hidden states, over the quickstart's own corpus. On 2 busy CPU cores in 206 s (2026-11-30, over the text of every
extra's packages): held-out MLM loss 5.728 -> 5.007, the teacher's being 4.887; soft loss 0.665 -> 0.192, 1 - cosine
0.249 -> 0.078.

    bert-jax prepare --config experiments/distil/quick.py:relations --config.tokenizer.path=DIR
    bert-jax distill --config experiments/distil/quick.py:relations --config.tokenizer.path=DIR --teacher DIR --workdir W

takes any encoder DIR without an MLM head, such as a sentence encoder of 30,522 entries: a student of two layers of 128
learns the relations of its queries, keys and values (MiniLMv2).
"""

from ml_collections import ConfigDict

from bert_jax.config import DistilPretrainConfig, base


def get_config(kind: str = "layers") -> ConfigDict:
    config = base(DistilPretrainConfig)
    config.data.sentence_objective = "none"
    config.data.format = "full_sentences"
    config.data.sequence_length = 64
    config.optim.b2 = 0.98
    config.optim.clip_norm = 0.0
    config.optim.warmup_steps = 50
    config.train.steps = 400
    config.train.batch_size = 32
    config.train.log_every = 20
    config.train.eval_every = 100
    config.train.eval_batches = 20
    config.checkpoint.every = 100
    if kind == "relations":
        config.model.preset = "bert-tiny"
        config.model.dropout_rate = 0.0
        config.model.attention_dropout_rate = 0.0
        config.model.pooler = "none"
        config.model.initializer_range = 0.05
        config.optim.learning_rate = 2e-3
        config.distil.hard = 0.0
        config.distil.query_relation = 1.0
        config.distil.key_relation = 1.0
        config.distil.value_relation = 1.0
        config.distil.relation_heads = 4
        return config
    if kind != "layers":
        raise ValueError(f"kind {kind!r} must be layers or relations")
    config.tokenizer.vocab_size = 8192
    config.model.preset = "ettin-17m"  # as the quickstart has it, but for the layers
    config.model.num_layers = 1
    config.model.hidden_size = 128
    config.model.num_heads = 2
    config.model.mlp_size = 344
    config.model.max_positions = 512
    config.model.pattern = ("global",)
    config.model.rotary.base = 10_000.0
    config.model.rotary.local_base = 10_000.0
    config.optim.learning_rate = 1e-3
    config.distil.soft = 5.0
    config.distil.hard = 2.0
    config.distil.hidden_cosine = 1.0
    config.distil.student_layers = (0,)
    return config
