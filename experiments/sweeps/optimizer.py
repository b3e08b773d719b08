"""AdamW, Google's Adam without bias correction, or LAMB?

    bert-jax sweep experiments/sweeps/optimizer.py --workdir S --executor slurm

full: BERT-base as published, MLM and next sentence. LAMB scales updates to the weights, so it needs a learning
rate of its own: 1.76e-3 is ALBERT's at batch 4,096; tune it first for other batch sizes. tiny: the quickstart's budget.
"""

from bert_jax.sweeps import Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    def variant(name: str, **values: float) -> Variant:
        return Variant(name=name, values={"optim.name": name, **{f"optim.{k}": v for k, v in values.items()}})

    return Sweep(
        question="Does the optimizer matter at the original batch size?",
        variants=(
            variant("adamw"),
            variant("bert_adam"),
            variant("lamb", learning_rate=sized(size, full=1.76e-3, tiny=1e-2)),
        ),
        common={"optim.schedule": "linear"},
        **sized(
            size,
            full={"base": "../bert_base.py", "tokens": 900_000 * 256 * 128 + 100_000 * 256 * 512},
            tiny={"base": "../quickstart.py", "tokens": 1_300 * 32 * 64},
        ),
    )
