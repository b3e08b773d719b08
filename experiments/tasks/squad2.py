"""Questions that may have no answer in their paragraph: SQuAD 2.0 (130,319 / 11,873).

    bert-jax finetune --config experiments/tasks/squad2.py --init google-bert/bert-base-uncased --workdir runs/squad2

BERT's settings (Devlin et al. 2019, section 4.3): 5e-5, batch 48, 2 epochs; windows of 384 tokens that share 128; no
dropout before the output layer. The batch counts windows. The threshold of the null score is tuned on dev, as in the
paper: best_f1 and best_f1_threshold; f1 is that of a threshold of 0. SQuAD's own files do as well:
--config.task.train=train-v2.0.json --config.task.eval=dev-v2.0.json.
Published, dev, F1: BERT-base 76.8, BERT-large 81.8 (exact match 79.0); MiniLM L6-H384 (22M; 4e-5, 4 epochs) 75.6, L12-H384
81.7; DeBERTaV3-base 88.4 (85.4). Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.kind = "question_answering"
    config.task.train = "tfds:squad/v2.0:train"
    config.task.eval = "tfds:squad/v2.0:validation"
    config.task.select = "best_f1"
    config.task.max_length = 384
    config.task.stride = 128
    config.model.head_dropout_rate = 0.0
    config.optim.learning_rate = 5e-05
    config.train.batch_size = 48
    config.train.epochs = 2.0
    return config
