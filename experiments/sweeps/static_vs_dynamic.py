"""The same masks each epoch, or new ones? (Liu et al. 2019, section 4.1 and table 1)

    bert-jax sweep experiments/sweeps/static_vs_dynamic.py --workdir S --executor slurm

full: BERT-base on rows of 512, 1,000,000 steps of batch 256; static masks are ten copies of each row, in turn. A
difference can appear only once a row is seen more often than it has copies; the paper trains for forty epochs.
tiny: bert-tiny for the quickstart's budget and one copy. On a corpus of more than two million tokens that is less than
an epoch, and the variants do not differ: use a smaller text, or more --tokens.
"""

from bert_jax.sweeps import Column, Published, Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    copies = {"full": 10, "tiny": 1}.get(size, 10)
    return Sweep(
        question="Do masks that are drawn anew each epoch beat masks drawn once?",
        variants=(
            Variant(name="static", values={"masking.mode": "static", "masking.copies": copies}),
            Variant(name="dynamic", values={"masking.mode": "dynamic"}),
        ),
        published=Published(
            source="Liu et al. 2019, table 1 (median of five seeds)",
            columns=(
                Column("SQuAD 2.0"),
                Column("MNLI-m"),
                Column("SST-2"),
                Column("(MLM accuracy)", "mlm.accuracy"),
            ),
            rows={
                "reference": (76.3, 84.3, 92.8, None),
                "static": (78.3, 84.3, 92.5, None),
                "dynamic": (78.7, 84.0, 92.9, None),
            },
            variants={"static": "static", "dynamic": "dynamic"},
        ),
        **sized(
            size,
            full={
                "base": "../bert_base.py",
                "tokens": 1_000_000 * 256 * 512,
                "common": {"phases": ()},
            },
            tiny={"base": "../bert_tiny.py", "tokens": 1_300 * 32 * 64},
        ),
    )
