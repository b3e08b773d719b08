"""Absolute positions, or attention disentangled into content and relative position? (He et al. 2021a, table 5)

    bert-jax sweep experiments/sweeps/attention.py --workdir S --executor slurm

full: the ablation of the paper: DeBERTa-base on rows of 512, spans masked, 1,000,000 steps of batch 256; the baseline
is the same encoder with absolute positions, the paper's RoBERTa. tiny: bert-tiny for the quickstart's budget.
"""

from bert_jax.sweeps import Column, Published, Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    values: dict[str, dict]
    if size == "tiny":
        relative = {"model.positions": "disentangled", "model.relative.span": 64}
        values = {
            "absolute": {"model.positions": "absolute"},
            "disentangled": relative,
            "no_c2p": {**relative, "model.relative.terms": ("p2c",)},
            "no_p2c": {**relative, "model.relative.terms": ("c2p",)},
        }
    else:
        values = {
            "absolute": {"model.preset": "roberta-base"},
            "disentangled": {"model.preset": "deberta-base"},
            "no_decoder": {"model.relative.mask_decoder": False},
            "no_c2p": {"model.relative.terms": ("p2c",)},
            "no_p2c": {"model.relative.terms": ("c2p",)},
        }
    titles = {
        "RoBERTa (reimplemented)": "absolute",
        "DeBERTa": "disentangled",
        "-EMD": "no_decoder",
        "-C2P": "no_c2p",
        "-P2C": "no_p2c",
    }
    return Sweep(
        question="Does disentangled attention beat absolute positions, and which of its terms matters?",
        variants=tuple(Variant(name=name, values=value) for name, value in values.items()),
        published=Published(
            source="He et al. 2021a, table 5",
            columns=(
                Column("MNLI-m/mm"),
                Column("SQuAD1.1"),
                Column("SQuAD2.0"),
                Column("RACE"),
                Column("(MLM accuracy)", "mlm.accuracy"),
            ),
            rows={
                "RoBERTa (reimplemented)": ("84.9/85.1", "91.1/84.8", "79.5/76.0", 66.8, None),
                "DeBERTa": ("86.3/86.2", "92.1/86.1", "82.5/79.3", 71.7, None),
                "-EMD": ("86.1/86.1", "91.8/85.8", "81.3/78.0", 70.3, None),
                "-C2P": ("85.9/85.7", 91.6, 81.3, 69.3, None),
                "-P2C": ("86.0/85.8", 91.7, 80.8, 69.6, None),
            },
            variants={title: variant for title, variant in titles.items() if variant in values},
        ),
        **sized(
            size,
            full={"base": "../deberta_base.py", "tokens": 1_000_000 * 256 * 512},
            tiny={"base": "../bert_tiny.py", "tokens": 1_300 * 32 * 64},
        ),
    )
