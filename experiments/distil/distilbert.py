"""DistilBERT: half of BERT-base's layers, taught by it while both predict masked tokens (Sanh et al. 2019).

    bert-jax prepare --config experiments/distil/distilbert.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax distill --config experiments/distil/distilbert.py --config.data.path='corpus/*.jsonl.gz' \\
        --teacher google-bert/bert-base-uncased --workdir runs/distilbert

The corpus is prepared with the teacher's vocabulary. The student begins with the teacher's layers 0, 2, 4, 7, 9 and 11,
its embeddings without segment types, and its MLM head; there is no pooler, and position embeddings stay as they are. Rare
tokens are predicted more often, by their count to the power of -0.7. Loss:
5 x soft (every token, temperature 2) + 2 x MLM + 1 x cosine of the last hidden states, the weights of the released run.
Rate 5e-4, b2 0.98, no weight decay, warmup over the first 5 %, clipping at 5, as the released script has them; batches of
4,000 rows as the paper says. The 50,000 steps are this file's choice: the paper trained 90 hours on 8 V100 of 16 GB.

Published: 66 M parameters; GLUE dev macro average 77.0 against the teacher's 79.5 (CoLA 51.3, MNLI 82.1, MRPC 87.5, QNLI
89.2, QQP 88.5, RTE 59.9, SST-2 91.3, STS-B 86.9); SQuAD 1.1 F1 86.9 against 88.5. Without the teacher's layers 3.7 points
less, without the soft loss or the cosine 1.5 to 3.0, without MLM 0.3. Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import DistilPretrainConfig, base

TEACHER = "google-bert/bert-base-uncased"


def get_config() -> ConfigDict:
    config = base(DistilPretrainConfig)
    config.data.path = "corpus"
    config.data.sequence_length = 512
    config.data.sentence_objective = "none"
    config.data.format = "full_sentences"
    config.tokenizer.path = TEACHER
    config.masking.rarity = 0.7
    config.model.preset = "distilbert"
    config.model.dtype = "bfloat16"
    config.distil.soft = 5.0
    config.distil.soft_at = "all"
    config.distil.hard = 2.0
    config.distil.hidden_cosine = 1.0
    config.distil.student_layers = (0, 2, 4, 7, 9, 11)
    config.distil.teacher_dtype = "bfloat16"
    config.phases = ({"frozen": ("^bert/embeddings/position$",)},)
    config.optim.learning_rate = 5e-4
    config.optim.b2 = 0.98
    config.optim.weight_decay = 0.0
    config.optim.clip_norm = 5.0
    config.optim.warmup_steps = 2_500
    config.train.steps = 50_000
    config.train.batch_size = 4000
    return config
