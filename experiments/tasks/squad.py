"""Questions whose answers are spans of a paragraph: SQuAD 1.1 (87,599 / 10,570).

    bert-jax finetune --config experiments/tasks/squad.py --init google-bert/bert-base-uncased --workdir runs/squad

Settings of Hugging Face's run_qa example: 3e-5, batch 12, 2 epochs, windows of 384 tokens that share 128; no dropout
before the output layer, as in BERT. The batch counts windows. BERT's own (Devlin et al. 2019, section 4.2): 5e-5, batch
32, 3 epochs. SQuAD's own files do as well: --config.task.train=train-v1.1.json --config.task.eval=dev-v1.1.json.
Published, dev, exact match / F1: BERT-base 80.8 / 88.5 (the paper), 81.22 / 88.52 (run_qa, uncased), BERT-large 84.1 /
90.9. Not yet run with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.kind = "question_answering"
    config.task.train = "tfds:squad/v1.1:train"
    config.task.eval = "tfds:squad/v1.1:validation"
    config.task.max_length = 384
    config.task.stride = 128
    config.model.head_dropout_rate = 0.0
    config.optim.learning_rate = 3e-05
    config.train.batch_size = 12
    config.train.epochs = 2.0
    return config
