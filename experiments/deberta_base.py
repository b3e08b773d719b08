"""DeBERTa-base of the ablation study: disentangled attention and the enhanced mask decoder (He et al. 2021a, table 5).

    bert-jax prepare  --config experiments/deberta_base.py --config.data.path='corpus/*.jsonl.gz'
    bert-jax pretrain --config experiments/deberta_base.py --config.data.path='corpus/*.jsonl.gz' --workdir runs/deberta

Wikipedia and books, 1,000,000 steps of batch 256 on rows of 512, rate 1e-4 after 10,000 steps of warmup; spans of
up to three words are masked. 16 V100 for seven days then: MNLI-m/mm 86.3/86.2, SQuAD 1.1 F1/EM 92.1/86.1.

The table's other rows: `:no_decoder` (-EMD: 86.1), `:no_c2p` (85.9), `:no_p2c` (86.0). RoBERTa in the same setting:
84.9. Not yet trained with this code.
"""

from ml_collections import ConfigDict

from bert_jax.config import base


def get_config(variant: str = "full") -> ConfigDict:
    config = base()
    config.data.path = "corpus"
    config.data.sequence_length = 512
    config.data.sentence_objective = "none"
    config.data.format = "full_sentences"
    config.tokenizer.kind = "bpe"
    config.tokenizer.vocab_size = 50265
    config.tokenizer.lowercase = False
    config.masking.unit = "span"
    config.masking.max_span = 3
    config.model.preset = "deberta-base"
    config.model.dtype = "bfloat16"
    if variant == "no_decoder":
        config.model.relative.mask_decoder = False
    elif variant == "no_c2p":
        config.model.relative.terms = ("p2c",)
    elif variant == "no_p2c":
        config.model.relative.terms = ("c2p",)
    elif variant != "full":
        raise ValueError(f"variant {variant!r} must be one of full, no_decoder, no_c2p, no_p2c")
    config.train.steps = 1_000_000
    return config
