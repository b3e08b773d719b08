"""Your own texts: a file with a text, perhaps a second one, and a class on each line.

    bert-jax finetune --config experiments/tasks/text.py --init google-bert/bert-base-uncased --workdir runs/mine \\
        --config.task.train=train.tsv --config.task.eval=dev.tsv

TSV, CSV, JSON lines or Parquet; columns by their usual names (sentence or text, sentence2, label), or as
--config.task.text=COLUMN says. Labels are found in the file. --config.task.kind=multilabel takes several a text,
regression a number.
"""

from ml_collections import ConfigDict

from bert_jax.config import FinetuneConfig, base


def get_config() -> ConfigDict:
    config = base(FinetuneConfig)
    config.task.train = "train.tsv"
    config.task.eval = "dev.tsv"
    return config
