"""TinyBERT's architecture of four layers, pretrained with masked tokens alone: the student without its teacher
(Jiao et al. 2020, section 4.2).

    bert-jax prepare  --config experiments/tinybert.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/tinybert.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/tinybert

Four layers of 312 with 12 heads and an MLP of 1,200: 14.5 M parameters; `experiments/tinybert.py:6` has six layers
of 768. Batches of 256 rows of 128, as the released general distillation; the 300,000 steps are this file's choice.

Published, distilled twice: GLUE test average 77.0 (four layers), 79.4 (six). Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config(layers: str = "4") -> ConfigDict:
    config = base()
    config.data.path = "corpus"
    config.data.sentence_objective = "none"
    config.data.format = "full_sentences"
    config.model.preset = f"tinybert-{layers}"
    config.model.dtype = "bfloat16"
    config.train.steps = 300_000
    return config
