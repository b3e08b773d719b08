"""Does the 80/10/10 split of predicted tokens matter? (Devlin et al. 2019, appendix C.2)

    bert-jax sweep experiments/sweeps/mask_split.py --workdir S --executor slurm

A predicted token is shown as [MASK], as a random token or unchanged; variants are named mask-random-keep, in per cent.
full: BERT-base as published, MLM alone. tiny: bert-tiny for the quickstart's budget. All variants are probed with
80/10/10.
"""

from bert_jax.sweeps import Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    splits = ((80, 10, 10), (100, 0, 0), (80, 20, 0), (80, 0, 20), (0, 80, 20), (0, 100, 0))
    return Sweep(
        question="Does the 80/10/10 split of the predicted tokens matter?",
        variants=tuple(
            Variant(
                name=f"{mask}-{random}-{keep}",
                values={
                    "masking.mask": mask / 100,
                    "masking.random": random / 100,
                    "masking.keep": keep / 100,
                },
            )
            for mask, random, keep in splits
        ),
        common={"data.sentence_objective": "none"},
        **sized(
            size,
            full={"base": "../bert_base.py", "tokens": 900_000 * 256 * 128 + 100_000 * 256 * 512},
            tiny={"base": "../bert_tiny.py", "tokens": 1_300 * 32 * 64},
        ),
    )
