"""Mask tokens, whole words, n-grams or spans? (Lan et al. 2020, section 4.1; Joshi et al. 2020, section 3.1)

    bert-jax sweep experiments/sweeps/mask_unit.py --workdir S --executor slurm

full: BERT-base as published, MLM alone. tiny: bert-tiny for the quickstart's budget. All variants are probed with
single tokens masked, the easiest of the four: mlm.loss favours the variant trained on them, NSP and SOP probes none.
"""

from bert_jax.sweeps import Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    units = ("token", "whole_word", "ngram", "span")
    return Sweep(
        question="Is it better to mask tokens, whole words, n-grams or spans?",
        variants=tuple(Variant(name=unit, values={"masking.unit": unit}) for unit in units),
        common={"data.sentence_objective": "none"},
        **sized(
            size,
            full={"base": "../bert_base.py", "tokens": 900_000 * 256 * 128 + 100_000 * 256 * 512},
            tiny={"base": "../bert_tiny.py", "tokens": 1_300 * 32 * 64},
        ),
    )
