"""The trainer: what is compiled for a task."""

import jax
import jax.numpy as jnp

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
                objective=parts.task.objective,
                optimizer=make_optimizer(config),
                accumulate=1,
            )

        step_text = jax.jit(body).lower(state, synthetic(config, 8)).as_text()
        texts.append((jax.jit(parts._create).lower(parts._seed).as_text(), step_text))
        kernels.append(state.params["bert"]["embeddings"]["token"])
    assert texts[0] == texts[1]
    assert not jnp.array_equal(*kernels)
