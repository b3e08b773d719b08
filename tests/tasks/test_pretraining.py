"""The task of pretraining, without a corpus: what a phase changes of the model."""

import jax
import numpy as np

from bert_jax import config as configs
from bert_jax.tasks.pretraining import Pretraining
from tests.models.variants import row


def test_a_phase_with_another_rotary_base_has_another_objective():
    config = configs.resolve(
        {
            "tokenizer": {"vocab_size": 50},
            "data": {"sentence_objective": "none", "sequence_length": 20},
            "model": {
                "preset": "ettin-17m", "hidden_size": 24, "num_heads": 3, "num_layers": 3, "mlp_size": 16,
                "initializer_range": 0.3,
            },
            "train": {"steps": 10},
            "optim": {"warmup_steps": 1},
            "phases": ({"share": 0.5}, {"share": 0.5, "rotary_base": 2.0}),
        }
    )  # fmt: skip
    task = Pretraining(config)
    params = task.init(jax.random.key(0))
    batch = row(np.random.default_rng(0).integers(5, 50, 17, np.int32))

    def states(objective):
        return np.asarray(objective.forward(params, {}, batch, None).hidden_BLD)[:, :17]

    first, second = (states(task.objective_in(phase)) for phase in task.phases)
    np.testing.assert_array_equal(first, states(task.objective))
    assert np.abs(first - second).max() > 0.01
    assert [task.within(phase).model.rotary.base for phase in task.phases] == [160_000.0, 2.0]
    assert task.config is config
