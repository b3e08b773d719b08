"""TinyBERT's first stage: attention and hidden states of BERT-base, on any text (Jiao et al. 2020, section 3.2).

    bert-jax prepare --config experiments/distil/tinybert_general.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax distill --config experiments/distil/tinybert_general.py --config.data.path='corpus/*.jsonl.gz' \\
        --teacher google-bert/bert-base-uncased --workdir runs/tinybert

Four layers of 312, 12 heads, 14.5 M parameters (`:6` has six of 768), fresh. Each student layer learns the attention scores
(before the softmax) and, through one learned projection, the hidden states of the last layer of a block of the teacher's;
the embeddings learn the embeddings. No masked tokens are predicted, so the MLM head stays as it began; the second stage
(tinybert_task.py) follows. Batches of 256 rows of 128, rate 5e-5, warmup over 10 %, three passes in the original; the
300,000 steps are this file's choice.

Over real tokens only; --config.distil.quirks=padding averages over padding as the released code does.

Published after both stages: GLUE test 77.0 (four layers), 79.4 (six), BERT-base 79.5; not distilled, a model of the same
size has 70.2. Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import DistilPretrainConfig, base


def get_config(layers: str = "4") -> ConfigDict:
    config = base(DistilPretrainConfig)
    config.data.path = "corpus"
    config.data.sentence_objective = "none"
    config.data.format = "full_sentences"
    config.tokenizer.path = "google-bert/bert-base-uncased"
    config.model.preset = f"tinybert-{layers}"
    config.model.dtype = "bfloat16"
    config.distil.hard = 0.0
    config.distil.hidden_mse = 1.0
    config.distil.attention_mse = 1.0
    config.distil.teacher_dtype = "bfloat16"
    config.optim.learning_rate = 5e-5
    config.optim.warmup_steps = 30_000
    config.train.steps = 300_000
    return config
