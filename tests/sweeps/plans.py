"""Small plans, made without a file."""

from bert_jax import config as configs
from bert_jax.sweeps.definition import Plan, Sweep, Trial, Variant

_BASE = {
    "data": {"sequence_length": 32, "sentence_objective": "none"},
    "tokenizer": {"vocab_size": 128},
    "model": {"preset": "bert-tiny"},
    "optim": {"warmup_steps": 2},
    "train": {"batch_size": 8, "steps": 10},
}


def make_plan(*, variants=None, seeds=(0, 1), tokens=2560, sequence_length=32, **fields) -> Plan:
    """Variants by their masking rate. `fields` go to the Sweep."""
    variants = variants or {"a": 0.15, "b": 0.3}

    def config(rate, seed=0):
        data = {**_BASE["data"], "sequence_length": sequence_length}
        return configs.resolve({**_BASE, "data": data, "masking": {"rate": rate}, "seed": seed})

    return Plan(
        file="sweep.py",
        sweep=Sweep(
            question="Which?",
            base="base.py",
            variants=tuple(
                Variant(name=name, values={"masking.rate": rate}) for name, rate in variants.items()
            ),
            tokens=tokens,
            seeds=seeds,
            **fields,
        ),
        reference=config(0.15),
        trials=tuple(
            Trial(variant=name, seed=seed, config=config(rate, seed))
            for seed in seeds
            for name, rate in variants.items()
        ),
    )
