"""GLUE: nine tasks from one model, each with the best of a grid on dev, beside published rows, and the server's files.

    bert-jax finetune --suite glue --init google-bert/bert-base-uncased --workdir runs/glue
    bert-jax finetune --suite glue --init runs/base --workdir runs/glue-base --only cola,mrpc,stsb,rte --seeds 0,1,2

The grid is BERT's: batch 32, the best of 5e-5, 4e-5, 3e-5 and 2e-5 on dev (Devlin et al. 2019, section 4.1). RTE, MRPC and
STS-B begin with the MNLI run, as in RoBERTa's and later papers. runs/glue/suite.md has the table, runs/glue/submission the
files for gluebenchmark.com. BERT-base takes about a day on one modern GPU, most of it MNLI and QQP. Not yet run with this
code.
"""

from bert_jax.suites import Suite

_TASKS = ("mnli", "cola", "sst2", "mrpc", "stsb", "qqp", "qnli", "rte", "wnli")


def get_suite() -> Suite:
    tests = {name: f"tfds:glue/{name}:test" for name in _TASKS if name != "mnli"}
    return Suite(
        tasks={name: f"../tasks/{name}.py" for name in _TASKS},
        starts={"rte": "mnli", "mrpc": "mnli", "stsb": "mnli"},
        grid={"optim.learning_rate": (5e-5, 4e-5, 3e-5, 2e-5)},
        further={"mnli": {"mismatched": "tfds:glue/mnli:validation_mismatched"}},
        is_glue=True,
        submissions=tests
        | {
            "mnli_matched": "tfds:glue/mnli:test_matched",
            "mnli_mismatched": "tfds:glue/mnli:test_mismatched",
            "ax": "tfds:glue/ax:test",
        },
    )
