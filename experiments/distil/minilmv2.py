"""MiniLMv2: a student of any width learns how its teacher's queries, keys and values relate (Wang et al. 2021).

    bert-jax prepare --config experiments/distil/minilmv2.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax distill --config experiments/distil/minilmv2.py --config.data.path='corpus/*.jsonl.gz' \\
        --teacher google-bert/bert-base-uncased --workdir runs/minilm

Six layers of 384, 12 heads, fresh (`:768`: as wide as BERT-base). One layer of each model is compared: the student's last
and the teacher's last (BERT-large: --config.distil.relation_layer=20, the 21st), by 48 relation heads (64 for a large
teacher). No other loss: adding MLM lowers the result (the authors, unilm issue 199). Batches of 256 rows of 512, 400,000
steps, rate 6e-4, warmup over 1 % and b2 0.98 are this file's choice.

Published, MNLI-m and SQuAD 2.0 F1: from BERT-base 6x384 82.8 and 72.9, 6x768 84.2 and 76.3; from BERT-large 83.0 and 74.3,
85.0 and 77.7. The authors never released their training code. Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import DistilPretrainConfig, base


def get_config(width: str = "384") -> ConfigDict:
    config = base(DistilPretrainConfig)
    config.data.path = "corpus"
    config.data.sequence_length = 512
    config.data.sentence_objective = "none"
    config.data.format = "full_sentences"
    config.tokenizer.path = "google-bert/bert-base-uncased"
    config.model.num_layers = 6
    config.model.hidden_size = int(width)
    config.model.num_heads = 12
    config.model.mlp_size = 4 * int(width)
    config.model.pooler = "none"
    config.model.dtype = "bfloat16"
    config.distil.hard = 0.0
    config.distil.query_relation = 1.0
    config.distil.key_relation = 1.0
    config.distil.value_relation = 1.0
    config.distil.relation_heads = 48
    config.distil.teacher_dtype = "bfloat16"
    config.optim.learning_rate = 6e-4
    config.optim.b2 = 0.98
    config.optim.warmup_steps = 4_000
    config.train.steps = 400_000
    return config
