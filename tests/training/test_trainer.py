"""The trainer: what is compiled for a task."""

import re

import jax
import jax.numpy as jnp
import pytest

from bert_jax import config as configs
from bert_jax.benchmarks.synthetic import synthetic
from bert_jax.tasks.choose import task_of
from bert_jax.training.optim import make_optimizer
from bert_jax.training.step import train_step
from bert_jax.training.trainer import Trainer


def test_seeds_share_their_programs():
    """What is compiled must not hold the seed, or no trial finds another's in the compilation cache."""
    texts, kernels = [], []
    for seed in (1, 2):
        config = configs.resolve(
            {
                "seed": seed,
                "tokenizer": {"vocab_size": 64},
                "data": {"sequence_length": 16},
                "model": {
                    "preset": "bert-tiny",
                    "hidden_size": 16,
                    "num_heads": 2,
                    "num_layers": 1,
                    "mlp_size": 16,
                },
                "train": {"batch_size": 8},
            }
        )
        assert config.model.dropout_rate > 0
        parts = Trainer.of(task_of(config), config)
        state = parts.new_state()
        assert int(state.seed) == seed

        def body(state, batch, parts=parts, config=config):
            return train_step(
                state,
                {},
                batch,
                reduce=lambda tree: tree,
                whole=lambda tree: tree,
                objective=parts.task.objective,
                optimizer=make_optimizer(config),
                accumulate=1,
            )

        step_text = jax.jit(body).lower(state, synthetic(config, 8)).as_text()
        texts.append((jax.jit(parts._create).lower(parts._seed).as_text(), step_text))
        kernels.append(state.params["bert"]["embeddings"]["token"])
    assert texts[0] == texts[1]
    assert not jnp.array_equal(*kernels)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [{"fsdp": 2, "tensor": 2}, {"mode": "pmap"}], ids=["jit", "pmap"])
def test_a_step_compiled_without_its_devices_is_the_step_that_trains(parallel):
    model = {"preset": "bert-tiny", "hidden_size": 16, "num_heads": 2, "num_layers": 1, "mlp_size": 16}
    config = configs.resolve(
        {
            "tokenizer": {"vocab_size": 64},
            "data": {"sequence_length": 16},
            "model": model,
            "train": {"batch_size": 16, "accumulate": 2},
            "parallel": parallel,
        }
    )
    trainer = Trainer.of(task_of(config), config)
    [phase] = trainer.task.phases
    state, batch = trainer.new_state(), synthetic(config, 16)
    trains = trainer.compile_train(phase, state, batch).compile(state, trainer.plan.place(batch))
    assert instructions(trainer.compile_abstract(phase, 16)) == instructions(trains)


def instructions(compiled):
    """The program without the places in the source that it came from."""
    lines = (line for line in compiled.as_text().splitlines() if " = " in line)
    return [re.sub(r", metadata=\{[^}]*\}", "", line) for line in lines]
