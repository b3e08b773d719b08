"""Next sentence, sentence order, or neither? (Lan et al. 2020, section 4.6 and table 5)

    bert-jax sweep  experiments/sweeps/nsp_vs_sop.py --workdir S --executor slurm --config.data.path='corpus/*.jsonl.gz'
    bert-jax report S

full: ALBERT-base, 125,000 steps of batch 4,096 on rows of 512, for each variant and seed. Published: a model trained on
next sentence predicts sentence order no better than chance (52.0), one trained on order predicts next sentence (78.9).
Every model is also fine-tuned, on MNLI and SST-2, and its accuracy is a measure.
tiny: bert-tiny, 2,000 steps of 32 rows of 64, about an hour on two CPU cores, fine-tuned on which package a paragraph of
documentation is from; experiments/README.md has its results on novels.

Segment lengths must not reveal the label. The label of order they reveal where segments are cut to fill the row (as in
ALBERT's code), that of next sentence where segments end with sentences. So sop has `data.boundaries=whole`, and the
others are cut.
"""

from bert_jax.sweeps import Column, Published, Sweep, Variant, sized

_PROBED = ("mlm.loss", "mlm.accuracy", "nsp.accuracy", "sop.accuracy")


def get_sweep(size: str = "full") -> Sweep:
    return Sweep(
        question="Does a sentence objective help beside masked language modelling: next sentence, or sentence order?",
        variants=(
            Variant(name="none", values={"data.sentence_objective": "none"}),
            Variant(name="nsp", values={"data.sentence_objective": "nsp"}),
            Variant(name="sop", values={"data.sentence_objective": "sop", "data.boundaries": "whole"}),
        ),
        published=Published(
            source="Lan et al. 2020, table 5",
            columns=(
                Column("MLM", "mlm.accuracy"),
                Column("NSP", "nsp.accuracy"),
                Column("SOP", "sop.accuracy"),
                Column("SQuAD1.1"),
                Column("SQuAD2.0"),
                Column("MNLI", "mnli.accuracy"),
                Column("SST-2", "sst2.accuracy"),
                Column("RACE"),
                Column("Avg"),
            ),
            rows={
                "None": (54.9, 52.4, 53.3, "88.6/81.5", "78.1/75.3", 81.5, 89.9, 61.7, 79.0),
                "NSP": (54.5, 90.5, 52.0, "88.4/81.5", "77.2/74.6", 81.6, 91.1, 62.3, 79.2),
                "SOP": (54.0, 78.9, 86.5, "89.3/82.3", "80.0/77.1", 82.0, 90.3, 64.0, 80.1),
            },
            variants={"None": "none", "NSP": "nsp", "SOP": "sop"},
        ),
        **sized(
            size,
            full={
                "base": "../albert_base.py",
                "tokens": 125_000 * 4096 * 512,
                "tasks": {"mnli": "../tasks/mnli.py", "sst2": "../tasks/sst2.py"},
                "measures": (*_PROBED, "mnli.accuracy", "sst2.accuracy"),
            },
            tiny={
                "base": "../bert_tiny.py",
                "tokens": 2_000 * 32 * 64,
                "tasks": {"installed_docs": "../tasks/installed_docs.py"},
                "measures": (*_PROBED, "installed_docs.accuracy"),
            },
        ),
    )
