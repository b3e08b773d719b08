"""Which parameters can the layers share? (Lan et al. 2020, section 4.4 and table 4, E = 128)

    bert-jax sweep experiments/sweeps/sharing.py --workdir S --executor slurm --config.data.path='corpus/*.jsonl.gz'

full: ALBERT-base, 125,000 steps of batch 4,096 on rows of 512. tiny: bert-tiny with four layers, so that layers
can share, for the quickstart's budget.
"""

from bert_jax.sweeps import Column, Published, Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    choices = ("none", "all", "attention", "ffn")
    return Sweep(
        question="What does it cost to share parameters between layers: all, attention's, or the feed-forward's?",
        variants=tuple(Variant(name=choice, values={"model.sharing": choice}) for choice in choices),
        published=Published(
            source="Lan et al. 2020, table 4, ALBERT-base, E = 128",
            columns=(Column("Avg"), Column("(MLM accuracy)", "mlm.accuracy")),
            rows={
                "all-shared": (80.1, None),
                "shared-attention": (81.7, None),
                "shared-FFN": (80.2, None),
                "not-shared": (81.6, None),
            },
            variants={
                "all-shared": "all",
                "shared-attention": "attention",
                "shared-FFN": "ffn",
                "not-shared": "none",
            },
        ),
        **sized(
            size,
            full={"base": "../albert_base.py", "tokens": 125_000 * 4096 * 512},
            tiny={
                "base": "../bert_tiny.py",
                "tokens": 1_300 * 32 * 64,
                "common": {"model.num_layers": 4},
            },
        ),
    )
