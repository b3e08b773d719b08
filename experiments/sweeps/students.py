"""Which way of distilling pays, at equal steps?

    bert-jax sweep  experiments/sweeps/students.py --workdir S --executor slurm --config.data.path='corpus/*.jsonl.gz'
    bert-jax report S

full: students of six layers of 768 from BERT-base, 300,000 steps of 256 rows of 128 (TinyBERT's general distillation), on
the corpus prepared with the teacher's vocabulary. Another teacher is named twice: --teacher DIR
--config.tokenizer.path=DIR.
tiny: students of two layers of 256 from a teacher of four, 2,000 steps of 32 rows of 64. The teacher first, over the same
corpus and vocabulary:

    bert-jax prepare  --config experiments/quickstart.py:none
    bert-jax pretrain --config experiments/quickstart.py:none --workdir runs/mini --config.model.preset=bert-mini \\
        --config.model.initializer_range=0.035 --config.optim.learning_rate=1e-3 --config.train.steps=10000
    bert-jax sweep experiments/sweeps/students.py:tiny --workdir S

All students begin with fresh parameters and take the same rows and steps, so that the losses alone differ:

    plain        masked tokens, no teacher
    soft         the teacher's predictions of the masked tokens, nothing else
    distilbert   5 x predictions at every token + 2 x masked tokens + cosine of the last states (Sanh et al. 2019;
                 weights as in the released README)
    tinybert     states of every layer, through a projection, and attention scores (Jiao et al. 2020, eq. 7 to 9)
    minilmv2     relations among queries, keys and values of the last layer (Wang et al. 2021, eq. 4 to 6); heads of 16

A difference to the papers: DistilBERT begins with every second layer of its teacher, which by its ablation is worth 3.7
points of GLUE's average. Equal steps are not equal hours: the report's cost table shows what a teacher takes.

The last two train no predictions of masked tokens, so the mlm probe leaves them out. What compares all students is
the accuracy of a classifier fine-tuned from each, without a teacher: full, MNLI and SST-2; tiny, which package a
paragraph of documentation is from.

Published: MNLI-m and SST-2 of models of six layers of 768 from BERT-base. TinyBERT's are of GLUE's test set, and of
students that are distilled again on each task with augmented data; the others' are of dev, fine-tuned without a teacher.
Not yet run with this code.
"""

from typing import Any

from bert_jax.sweeps import Column, Published, Sweep, Variant, sized

_TEACHER = "google-bert/bert-base-uncased"


def get_sweep(size: str = "full") -> Sweep:
    heads = sized(size, full=48, tiny=16)
    of_teacher = sized(size, full={"teacher_dtype": "bfloat16"}, tiny={})

    def distilled(**options: Any) -> dict[str, Any]:
        return {f"distil.{name}": value for name, value in {**options, **of_teacher}.items()}

    return Sweep(
        question="Which way of distilling pays, at equal steps?",
        variants=(
            Variant(name="plain", values={}),
            Variant(name="soft", values=distilled(hard=0.0, soft=1.0)),
            Variant(
                name="distilbert",
                values=distilled(hard=2.0, soft=5.0, temperature=2.0, soft_at="all", hidden_cosine=1.0),
            ),
            Variant(name="tinybert", values=distilled(hard=0.0, hidden_mse=1.0, attention_mse=1.0)),
            Variant(
                name="minilmv2",
                values=distilled(
                    hard=0.0,
                    query_relation=1.0,
                    key_relation=1.0,
                    value_relation=1.0,
                    relation_heads=heads,
                ),
            ),
        ),
        probes=("mlm",),
        published=Published(
            source="DistilBERT's README; Jiao et al. 2020 (TinyBERT); Wang et al. 2021 (MiniLMv2)",
            columns=(
                Column("MNLI-m", "mnli.accuracy"),
                Column("SST-2", "sst2.accuracy"),
                Column("GLUE dev, nine tasks"),
            ),
            rows={
                "BERT-base, the teacher": (84.7, 92.7, 79.5),
                "DistilBERT": (82.1, 91.3, 77.0),
                "TinyBERT6, distilled on each task too": ("84.6 (test)", "93.1 (test)", None),
                "MiniLMv2 6x768": (84.2, None, None),
            },
            variants={
                "DistilBERT": "distilbert",
                "TinyBERT6, distilled on each task too": "tinybert",
                "MiniLMv2 6x768": "minilmv2",
            },
        ),
        **sized(
            size,
            full={
                "base": "../tinybert.py:6",
                "tokens": 300_000 * 256 * 128,
                "teacher": _TEACHER,
                "common": {"tokenizer.path": _TEACHER},
                "tasks": {"mnli": "../tasks/mnli.py", "sst2": "../tasks/sst2.py"},
                "measures": ("mnli.accuracy", "sst2.accuracy", "mlm.loss"),
            },
            tiny={
                "base": "../bert_tiny.py:none",
                "tokens": 2_000 * 32 * 64,
                "teacher": "runs/mini",
                "common": {
                    "model.preset": "bert-mini",
                    "model.num_layers": 2,
                    "model.initializer_range": 0.035,
                    "optim.learning_rate": 1e-3,
                },
                "tasks": {"installed_docs": "../tasks/installed_docs.py"},
                "measures": ("installed_docs.accuracy", "mlm.loss"),
            },
        ),
    )
