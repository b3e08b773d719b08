"""How much of the text should be masked? (Wettig et al. 2023 find 40 % better than 15 % for large models)

    bert-jax sweep experiments/sweeps/mask_rate.py --workdir S --executor slurm

full: BERT-base as published, MLM alone, 128 then 512. tiny: bert-tiny for the quickstart's budget. All variants are
probed with 15 % masked, which favours the variant trained at that rate; NSP and SOP probes have no masks.
"""

from bert_jax.sweeps import Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    rates = (0.15, 0.05, 0.30, 0.40, 0.50)
    return Sweep(
        question="Is 15 % the right share of tokens to predict?",
        variants=tuple(
            Variant(name=f"rate{round(100 * rate)}", values={"masking.rate": rate}) for rate in rates
        ),
        common={"data.sentence_objective": "none"},
        **sized(
            size,
            full={"base": "../bert_base.py", "tokens": 900_000 * 256 * 128 + 100_000 * 256 * 512},
            tiny={"base": "../bert_tiny.py", "tokens": 1_300 * 32 * 64},
        ),
    )
