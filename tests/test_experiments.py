"""Every experiment that is shipped: resolved, and its whole step traced at full size without computing."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from bert_jax import batch as contract
from bert_jax import config as configs
from bert_jax.commands.assembly import init_params, make_objective
from bert_jax.errors import ConfigError, UsageError
from bert_jax.training import optim, state, step

ROOT = Path(__file__).parents[1]
FILES = sorted(path.relative_to(ROOT) for path in ROOT.glob("experiments/**/*.py"))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_step_of_every_experiment_has_the_shapes_of_its_config(file):
    config = configs.load(str(ROOT / file))
    objective = make_objective(config)
    optimizer = optim.make_optimizer(config)
    fields = {
        name: jax.ShapeDtypeStruct(shape, contract.FIELDS[name])
        for name, shape in contract.shapes(config, config.train.batch_size).items()
    }
    params = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    names = step.metric_names(objective, params, fields)
    before = jax.eval_shape(lambda p: state.create(p, optimizer, names), params)
    body = functools.partial(
        step.train_step,
        reduce=lambda tree: tree,
        objective=objective,
        optimizer=optimizer,
        accumulate=config.train.accumulate,
        dropout_seed=config.seed,
    )
    after, sums = jax.eval_shape(body, before, fields)
    assert jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), before, after)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((after.params, sums)))
    assert ("pair_loss" in names) == (config.data.sentence_objective != "none")
    assert ("rtd_loss" in names) == (config.objective.name == "rtd")


@pytest.mark.parametrize("arm", ["none", "nsp", "sop"])
def test_the_arms_of_the_quickstart_share_their_corpus(arm):
    from bert_jax.data.prepare import corpus_folder

    config = configs.load(f"{ROOT / 'experiments/quickstart.py'}:{arm}")
    assert config.data.sentence_objective == arm
    assert corpus_folder(config) == corpus_folder(configs.load(str(ROOT / "experiments/quickstart.py")))


ARMS = {
    "roberta_base": ("long", "short"),
    "albert_base": ("all", "attention", "ffn", "none"),
    "deberta_base": ("full", "no_decoder", "no_c2p", "no_p2c"),
    "tinybert": ("4", "6"),
    "electra": ("small", "base"),
}


@pytest.mark.parametrize("name", ARMS)
def test_arms_resolve_differ_and_leave_the_tokens_alone(name):
    from bert_jax.data.prepare import corpus_folder

    arms = [configs.load(f"{ROOT / 'experiments' / name}.py:{arm}") for arm in ARMS[name]]
    assert len(set(arms)) == len(arms)
    assert len({corpus_folder(config) for config in arms}) == 1
    assert configs.load(str(ROOT / "experiments" / f"{name}.py")) == arms[0]
    with pytest.raises((ConfigError, UsageError), match="nonsense"):
        configs.load(f"{ROOT / 'experiments' / name}.py:nonsense")
