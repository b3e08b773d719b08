"""From BERT's block and AdamW to a modern encoder, one change after another: which of them pay?

    bert-jax sweep experiments/sweeps/recipe.py:tuning --workdir T --jobs 2 --config.data.path='corpus/*.txt'
    bert-jax sweep experiments/sweeps/recipe.py:tiny   --workdir S --jobs 2 --config.data.path='corpus/*.txt'

Each variant has all changes of those before it. All see equal tokens; blocks have equal FLOPs too, for a gated MLP is two
thirds as wide, and 30 % of masks cost the output layer twice the work (a part of the step that shrinks with the size of the
model). tuning: each at half, once and twice the learning rate, one seed. tiny: each at its best rate of tuning on 84 novels,
three seeds, the quickstart's budget. full: BERT-base for 10 B tokens, at three rates. Scores are those of one held-out set
with 15 % of masks.
"""

from typing import Any

from bert_jax.sweeps import Sweep, Variant, sized

CHANGES: dict[str, dict[str, Any]] = {
    "bert": {},
    "pre_norm": {"model.norm.place": "before"},
    "rotary": {"model.positions": "rotary"},
    "geglu": {"model.mlp": "geglu"},
    "no_biases": {"model.biases": False, "model.norm.bias": False},
    "masks_30": {"masking.rate": 0.3},
    "stable_adamw": {"optim.name": "stable_adamw", "optim.clip_norm": 0.0},
    "muon": {"optim.name": "muon", "optim.clip_norm": 1.0},
}
TUNED = {
    "bert": 2e-3, "pre_norm": 2e-3, "rotary": 2e-3, "geglu": 4e-3, "no_biases": 4e-3, "masks_30": 4e-3,
    "stable_adamw": 4e-3, "muon": 4e-3,
}  # fmt: skip
"""The best rate of each in `tuning`."""


def get_sweep(size: str = "full") -> Sweep:
    rate, gated = sized(size, full=(5e-4, 2048), tuning=(2e-3, 344), tiny=(2e-3, 344))
    variants: list[Variant] = []
    so_far: dict[str, Any] = {}
    for name, values in CHANGES.items():
        so_far |= values | ({"model.mlp_size": gated} if name == "geglu" else {})
        rates = [TUNED[name]] if size == "tiny" else [rate / 2, rate, 2 * rate]
        for each in rates:
            variant = name if size == "tiny" else f"{name}-{each:g}"
            variants.append(Variant(name=variant, values={**so_far, "optim.learning_rate": each}))
    small = {"base": "../bert_tiny.py", "tokens": 1_300 * 32 * 64}
    return Sweep(
        question="Which steps from BERT to a modern encoder pay, each at its best learning rate?",
        variants=tuple(variants),
        baseline="bert" if size == "tiny" else f"bert-{rate:g}",
        common={"data.sentence_objective": "none", "data.format": "full_sentences"},
        probes=("mlm",),
        measures=("mlm.loss", "mlm.accuracy"),
        **sized(
            size,
            full={"base": "../bert_base.py", "tokens": 10_000_000_000},
            tuning={**small, "seeds": (0,)},
            tiny=small,
        ),
    )
