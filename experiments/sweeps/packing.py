"""Does it pay to pack several examples into a row? (Krell et al. 2021; MLPerf packs two to a row of 512)

    bert-jax sweep experiments/sweeps/packing.py --workdir S --executor slurm

The budget is equal in token slots, so packed rows hold more text for the same FLOPs. Examples are single
sentences in pairs, short enough for many to share a row; attention stays inside each.
full: BERT-base on rows of 512. tiny: bert-tiny on rows of 128 for the quickstart's budget.
"""

from bert_jax.sweeps import Sweep, Variant, sized


def get_sweep(size: str = "full") -> Sweep:
    return Sweep(
        question="At equal FLOPs, do packed rows teach more than rows with padding?",
        variants=tuple(
            Variant(name=f"packing{count}", values={"data.packing": count}) for count in (1, 2, 4, 8)
        ),
        common={"data.format": "sentence_pair", "data.sentence_objective": "nsp"}
        | ({"data.sequence_length": 128} if size == "tiny" else {"phases": ()}),
        **sized(
            size,
            full={"base": "../bert_base.py", "tokens": 1_000_000 * 256 * 512},
            tiny={"base": "../bert_tiny.py", "tokens": 650 * 32 * 128},
        ),
    )
