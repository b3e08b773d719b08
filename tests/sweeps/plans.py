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


def make_plan(
    *, variants=None, students=None, seeds=(0, 1), tokens=2560, sequence_length=32, **fields
) -> Plan:
    """Variants by their masking rate, and students by their options of distillation. `fields` go to the Sweep."""
    rates = variants or {"a": 0.15, "b": 0.3}
    values = {name: {"masking.rate": rate} for name, rate in rates.items()}
    for name, options in (students or {}).items():
        values[name] = {f"distil.{option}": value for option, value in options.items()}

    def config(values, seed=0):
        raw = {**_BASE, "data": {**_BASE["data"], "sequence_length": sequence_length}, "seed": seed}
        for key, value in values.items():
            group, name = key.split(".")
            raw[group] = {**raw.get(group, {}), name: value}
        return configs.resolve(raw)

    return Plan(
        file="sweep.py",
        sweep=Sweep(
            question="Which?",
            base="base.py",
            variants=tuple(Variant(name=name, values=own) for name, own in values.items()),
            tokens=tokens,
            seeds=seeds,
            **fields,
        ),
        reference=config({}),
        trials=tuple(
            Trial(variant=name, seed=seed, config=config(own, seed))
            for seed in seeds
            for name, own in values.items()
        ),
    )
