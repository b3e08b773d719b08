"""A small corpus and configuration that the commands' tests share."""

import random
from pathlib import Path

import pytest

from bert_jax import config as configs

WORDS = [
    "the",
    "a",
    "red",
    "blue",
    "old",
    "new",
    "cat",
    "dog",
    "house",
    "garden",
    "sees",
    "likes",
    "finds",
    "paints",
    "quickly",
    "slowly",
    "and",
    "but",
]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """Sixty documents of eight short sentences."""
    rng = random.Random(0)
    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    documents = [
        "\n".join(" ".join(rng.choices(WORDS, k=rng.randint(4, 9))).capitalize() + "." for _ in range(8))
        for _ in range(60)
    ]
    path.write_text("\n\n".join(documents) + "\n")
    return path


@pytest.fixture(scope="session")
def experiment(corpus, tmp_path_factory) -> Path:
    """An experiment file over the corpus; its prepared shards live for the session."""
    folder = tmp_path_factory.mktemp("experiment")
    path = folder / "experiment.py"
    path.write_text(
        f"""
from bert_jax.config import base

def get_config():
    config = base()
    config.data.path = {str(corpus)!r}
    config.data.directory = {str(folder / "prepared")!r}
    config.data.sequence_length = 32
    config.data.sentence_objective = "sop"
    config.data.eval_fraction = 0.1
    config.tokenizer.vocab_size = 128
    config.model.preset = "bert-tiny"
    config.model.hidden_size = 32
    config.model.num_layers = 1
    config.model.mlp_size = 64
    config.optim.learning_rate = 1e-3
    config.optim.warmup_steps = 2
    config.train.steps = 12
    config.train.batch_size = 8
    config.train.log_every = 3
    config.train.eval_every = 6
    config.train.eval_batches = 2
    config.checkpoint.every = 4
    return config
"""
    )
    return path


@pytest.fixture(scope="session")
def prepared(experiment) -> configs.PretrainConfig:
    from bert_jax.data.corpus.prepare import prepare

    config = configs.load(str(experiment))
    prepare(config)
    return config


@pytest.fixture(scope="session")
def straight(prepared, tmp_path_factory) -> Path:
    """The workdir of a run that nothing stopped."""
    from bert_jax.commands import pretrain

    workdir = tmp_path_factory.mktemp("run") / "straight"
    pretrain.run(prepared, workdir)
    return workdir


@pytest.fixture(scope="session")
def words_task(experiment) -> str:
    """An experiment of fine-tuning beside `experiment`, for a sweep to score its trials on: its name."""
    folder = experiment.parent
    rows = [f"a text of {number} words\t{number % 3 > 0}" for number in range(40)]
    (folder / "words.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    (folder / "words.py").write_text(
        f"""
from bert_jax.config import FinetuneConfig, base

def get_config():
    config = base(FinetuneConfig)
    config.task.train = config.task.eval = {str(folder / "words.tsv")!r}
    config.task.max_length = 32
    config.train.steps = 2
    config.train.batch_size = 8
    return config
"""
    )
    return "words.py"
