"""Predict the masked tokens, or detect the replaced ones? (Clark et al. 2020, section 3.3)

    bert-jax sweep experiments/sweeps/objective.py --workdir S --executor slurm

full: BERT-base on rows of 128 then 512, against the same encoder with a generator of a third of its width. The budget
is equal in tokens; the generator's FLOPs are added to it, as the report's cost table shows. A replaced-token detector
has no masked-token head, so only the probes of [CLS] are comparable. tiny: the quickstart's budget, and a generator of
half the width, since the number of heads is whole.
"""

from bert_jax.sweeps import Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    width = sized(size, full=1 / 3, tiny=0.5)
    return Sweep(
        question="Does detecting replaced tokens teach more than predicting masked ones?",
        variants=(
            Variant(name="mlm", values={"objective.name": "mlm"}),
            Variant(name="rtd", values={"objective.name": "rtd", "objective.generator_width": width}),
        ),
        measures=("nsp.accuracy", "sop.accuracy"),
        **sized(
            size,
            full={
                "base": "../bert_base.py",
                "tokens": 900_000 * 256 * 128 + 100_000 * 256 * 512,
                "common": {"data.sentence_objective": "none"},
            },
            tiny={
                "base": "../bert_tiny.py",
                "tokens": 1_300 * 32 * 64,
                "common": {"data.sentence_objective": "none"},
            },
        ),
    )
