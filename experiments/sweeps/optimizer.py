"""AdamW, or another optimizer? Each at three learning rates, tuned alike.

    bert-jax sweep experiments/sweeps/optimizer.py --workdir S --executor slurm

full: BERT-base as published, MLM and next sentence. tiny: the quickstart's budget. An optimizer is tried at half, once
and twice a rate of its own; compare the best of each. Most share AdamW's; Lion's steps have the size of the rate, so
that it takes a tenth and ten times the decay (Chen et al. 2023, section 5); LAMB's are scaled to the weights: 1.76e-3 is
ALBERT's rate at batch 4,096.
"""

from collections.abc import Iterator

from bert_jax.sweeps import Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    usual = sized(size, full=1e-4, tiny=2e-3)

    def tuned(name: str, rate: float = usual, **values: float) -> Iterator[Variant]:
        for factor in (0.5, 1, 2):
            own = {"name": name, "learning_rate": factor * rate, **values}
            yield Variant(
                name=f"{name}-{factor * rate:g}", values={f"optim.{key}": value for key, value in own.items()}
            )

    return Sweep(
        question="Does the optimizer matter, each at its best learning rate?",
        variants=(
            *tuned("adamw"),
            *tuned("bert_adam"),
            *tuned("lamb", sized(size, full=1.76e-3, tiny=1e-2)),
            *tuned("stable_adamw", clip_norm=0.0),
            *tuned("adafactor"),
            *tuned("lion", usual / 10, b2=0.99, weight_decay=0.1),
            *tuned("muon"),
        ),
        baseline=f"adamw-{usual:g}",
        common={"optim.schedule": "linear"},
        **sized(
            size,
            full={"base": "../bert_base.py", "tokens": 900_000 * 256 * 128 + 100_000 * 256 * 512},
            tiny={"base": "../bert_tiny.py", "tokens": 1_300 * 32 * 64},
        ),
    )
