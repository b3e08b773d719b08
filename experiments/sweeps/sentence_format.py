"""What is an example: two segments, two sentences, or running text? (Liu et al. 2019, section 4.2 and table 2)

    bert-jax sweep experiments/sweeps/sentence_format.py --workdir S --executor slurm

full: BERT-base on rows of 512, 1,000,000 steps of batch 256. The budget is equal in token slots; pairs of single
sentences leave most of a row empty, which is part of what the published numbers show.
tiny: bert-tiny for the quickstart's budget.
"""

from bert_jax.sweeps import Column, Published, Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    def values(form: str, objective: str) -> dict[str, str]:
        return {"data.format": form, "data.sentence_objective": objective}

    return Sweep(
        question="Segments or sentences with next-sentence prediction, or running text without?",
        variants=(
            Variant(name="segment_pair-nsp", values=values("segment_pair", "nsp")),
            Variant(name="sentence_pair-nsp", values=values("sentence_pair", "nsp")),
            Variant(name="full_sentences", values=values("full_sentences", "none")),
            Variant(name="doc_sentences", values=values("doc_sentences", "none")),
        ),
        published=Published(
            source="Liu et al. 2019, table 2",
            columns=(
                Column("SQuAD 1.1/2.0"),
                Column("MNLI-m"),
                Column("SST-2"),
                Column("RACE"),
                Column("(MLM accuracy)", "mlm.accuracy"),
            ),
            rows={
                "SEGMENT-PAIR": ("90.4/78.7", 84.0, 92.9, 64.2, None),
                "SENTENCE-PAIR": ("88.7/76.2", 82.9, 92.1, 63.0, None),
                "FULL-SENTENCES": ("90.4/79.1", 84.7, 92.5, 64.8, None),
                "DOC-SENTENCES": ("90.6/79.7", 84.7, 92.7, 65.6, None),
                "BERT-base": ("88.5/76.3", 84.3, 92.8, 64.3, None),
            },
            variants={
                "SEGMENT-PAIR": "segment_pair-nsp",
                "SENTENCE-PAIR": "sentence_pair-nsp",
                "FULL-SENTENCES": "full_sentences",
                "DOC-SENTENCES": "doc_sentences",
            },
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
