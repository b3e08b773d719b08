"""DeBERTa-v3-base: replaced-token detection with gradient-disentangled embedding sharing (He et al. 2021b, section 3).

    bert-jax prepare  --config experiments/deberta_v3_base.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/deberta_v3_base.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/v3

Disentangled attention, a cased Unigram vocabulary of 128,100, and a generator as wide as the model with half its
layers; all masks are shown as [MASK]. The settings are those of the released script (experiments/language_model/
rtd.sh, deberta-v3-base): rows of 512, batch 256, learning rate 1e-4, 10,000 steps of warmup, 1,000,000 steps.
That script steps generator and discriminator by an optimizer each, and adds the [CLS] state and a LayerNorm before
the discriminator's head; here one optimizer takes the gradient of both, clipped together, and the head is ELECTRA's.

Published, from far more steps and 160 GB of text (README of the released code), dev: MNLI 90.6/90.7, SQuAD 2.0
88.4/85.4. Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config() -> ConfigDict:
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 512
    config.data.sentence_objective = "none"
    config.data.format = "full_sentences"
    config.tokenizer.kind = "unigram"
    config.tokenizer.vocab_size = 128_100
    config.tokenizer.lowercase = False
    config.masking.mask = 1.0
    config.masking.random = 0.0
    config.masking.keep = 0.0
    config.objective.name = "rtd"
    config.objective.rtd_weight = 50.0
    config.objective.generator_width = 1.0
    config.objective.generator_depth = 0.5
    config.objective.embedding_sharing = "disentangled"
    config.model.preset = "deberta-v3-base"
    config.model.dtype = "bfloat16"
    config.optim.learning_rate = 1e-4
    config.optim.warmup_steps = 10_000
    config.train.steps = 1_000_000
    config.train.batch_size = 256
    return config
