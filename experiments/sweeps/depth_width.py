"""Deep and narrow, or shallow and wide, at equal arithmetic in the layers?

    bert-jax sweep experiments/sweeps/depth_width.py --workdir S --executor slurm

Variants are named layers x width. Layers x width^2, and with it the multiplications of the layers, is equal to within
0.1 %; heads are 64 wide, the MLP four times the width. The embedding tables are not equal: wider variants have more
parameters there. full: BERT-base as published, MLM alone (12x768). tiny: 4x128 and equals, for the quickstart's budget.
"""

from bert_jax.sweeps import Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    sizes = {
        "full": ((12, 768), (3, 1536), (27, 512), (48, 384)),
        "tiny": ((4, 128), (1, 256), (16, 64)),
    }
    return Sweep(
        question="At equal arithmetic in the layers, is depth or width worth more?",
        variants=tuple(
            Variant(
                name=f"{layers}x{width}",
                values={
                    "model.num_layers": layers,
                    "model.hidden_size": width,
                    "model.num_heads": width // 64,
                    "model.mlp_size": 4 * width,
                },
            )
            for layers, width in sized(size, **sizes)
        ),
        common={"data.sentence_objective": "none", "model.layers": "scan"},
        **sized(
            size,
            full={"base": "../bert_base.py", "tokens": 900_000 * 256 * 128 + 100_000 * 256 * 512},
            tiny={"base": "../bert_tiny.py", "tokens": 1_300 * 32 * 64},
        ),
    )
