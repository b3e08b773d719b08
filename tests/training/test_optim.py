"""The optimizer of a run: what follows what, and which parameters decay."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax import config as configs
from bert_jax.errors import ConfigError
from bert_jax.models.bert import init_params
from bert_jax.models.parameters import TABLE, Parameter, ParameterTable
from bert_jax.tasks.choose import task_of
from bert_jax.training import optim
from bert_jax.training.schedule import make_schedule
from bert_jax.training.trainer import Trainer

ROWS = ParameterTable(
    (
        Parameter(path="dense/kernel", axes="DF", kind="matrix"),
        Parameter(path="dense/bias", axes="F", kind="vector"),
        Parameter(path="norm/scale", axes="F", kind="vector"),
    )
)


def make_config(**fields):
    return configs.resolve(
        {"model": {"preset": "bert-tiny"}, "train": {"steps": 100}, "optim": {"warmup_steps": 10} | fields}
    )


def tree(seed):
    rng = np.random.default_rng(seed)
    return {
        "dense": {
            "kernel": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
            "bias": jnp.asarray(rng.normal(size=4), jnp.float32),
        },
        "norm": {"scale": jnp.asarray(rng.normal(size=4), jnp.float32)},
    }


def updates(optimizer, steps=5):
    params = tree(0)
    state = optimizer.init(params)
    for i in range(steps):
        change, state = optimizer.update(tree(i + 1), state, params)
        params = optax.apply_updates(params, change)
    return params


def test_adamw_is_optax_adamw_with_the_published_exclusions():
    config = make_config(name="adamw", weight_decay=0.1, clip_norm=0.5, learning_rate=1e-2)
    schedule = make_schedule(config)
    mask = {"dense": {"kernel": True, "bias": False}, "norm": {"scale": False}}
    reference = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.adamw(schedule, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.1, mask=mask),
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        updates(optim.make_optimizer(config, ROWS)),
        updates(reference),
    )


@pytest.mark.parametrize("name", ["bert_adam", "lamb"])
def test_the_optimizers_of_bert_and_albert_are_their_code_written_out(name):
    """With a rate and an epsilon that show in the parameters."""
    config = make_config(
        name=name, weight_decay=0.01, clip_norm=0, schedule="bert_linear", learning_rate=0.1, eps=1e-2
    )
    params = jax.tree.map(np.asarray, tree(0))
    m = jax.tree.map(np.zeros_like, params)
    v = jax.tree.map(np.zeros_like, params)
    for step in range(5):
        grads = jax.tree.map(np.asarray, tree(step + 1))
        rate = 0.1 * step / 10  # still warming up
        for group, leaf in (("dense", "kernel"), ("dense", "bias"), ("norm", "scale")):
            g = grads[group][leaf]
            m[group][leaf] = 0.9 * m[group][leaf] + 0.1 * g
            v[group][leaf] = 0.999 * v[group][leaf] + 0.001 * g**2
            update = m[group][leaf] / (np.sqrt(v[group][leaf]) + 1e-2)
            if leaf == "kernel":
                update = update + 0.01 * params[group][leaf]
                if name == "lamb":
                    update *= np.linalg.norm(params[group][leaf]) / np.linalg.norm(update)
            params[group][leaf] = params[group][leaf] - rate * update
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        updates(optim.make_optimizer(config, ROWS)),
        params,
    )


def test_bias_correction_is_what_tells_the_two_apart():
    first_steps = [
        updates(optim.make_optimizer(make_config(name=name, weight_decay=0), ROWS), steps=1)["dense"]["bias"]
        for name in ("adamw", "bert_adam")
    ]
    moved = [np.abs(bias - tree(0)["dense"]["bias"]) for bias in first_steps]
    np.testing.assert_allclose(moved[1] / moved[0], 0.1 / np.sqrt(0.001), rtol=2e-2)


def test_decay_spares_biases_and_layer_norms_of_the_real_model():
    params = jax.eval_shape(lambda: init_params(make_config().model, jax.random.key(0)))
    flat = jax.tree_util.tree_leaves_with_path(TABLE.map(lambda row: row.decays, params))
    spared = {str(path[-1].key) for path, decayed in flat if not decayed}
    acted_on = {str(path[-1].key) for path, decayed in flat if decayed}
    assert spared == {"bias", "scale"}
    assert acted_on == {"kernel", "token", "position", "type"}


def test_clipping_bounds_the_gradient_before_adam():
    """Adam hides the scale of a gradient, so look at its first moment."""
    big = jax.tree.map(lambda g: 100 * g, tree(1))
    for clip_norm, expected in ((1.0, 1.0), (0.0, float(optax.tree.norm(big)))):
        optimizer = optim.make_optimizer(make_config(clip_norm=clip_norm), ROWS)
        _, state = optimizer.update(big, optimizer.init(tree(0)), tree(0))
        assert float(optax.tree.norm(state[1].mu)) == pytest.approx(0.1 * expected, rel=1e-5)


def test_a_rate_scales_the_whole_update_decay_included():
    params, gradient = tree(0), tree(1)
    rates = make_config(rates=("dense/=2e-5",), learning_rate=1e-4, weight_decay=0.1)
    plain = make_config(learning_rate=1e-4, weight_decay=0.1)

    def update(config):
        optimizer = optim.make_optimizer(config, ROWS)
        return optimizer.update(gradient, optimizer.init(params), params)[0]

    ours, usual = update(rates), update(plain)
    assert np.allclose(ours["dense"]["kernel"], 0.2 * usual["dense"]["kernel"], rtol=1e-6)
    assert np.allclose(ours["norm"]["scale"], usual["norm"]["scale"], rtol=1e-6)


# ---------------------------------------------------------------------------------------------
# Muon's matrices
# ---------------------------------------------------------------------------------------------

NONE, LAYERS, FIRST = (), ("encoder/",), ("layer_0/",)


@pytest.mark.parametrize("frozen", [(NONE,), (FIRST,), (LAYERS, FIRST), (LAYERS, NONE)], ids=str)
def test_muon_with_a_matrix_to_train_in_some_phase_is_accepted(frozen):
    params = jax.eval_shape(lambda: init_params(make_config().model, jax.random.key(0)))
    optim.check_muon(params, frozen)


def test_muon_with_nothing_to_update_is_refused():
    params = jax.eval_shape(lambda: init_params(make_config().model, jax.random.key(0)))
    with pytest.raises(
        ConfigError, match=r"name='muon' must have a matrix of .*: every phase freezes them all"
    ):
        optim.check_muon(params, (LAYERS, LAYERS))
    with pytest.raises(ConfigError, match=r"name='muon' must have a matrix of .*: the model has none"):
        optim.check_muon(tree(0), (NONE,), ROWS)


def test_a_trainer_asks_before_anything_is_compiled():
    config = make_config(name="muon", warmup_steps=2)
    frozen = {"share": 1.0, "frozen": LAYERS}
    whole = configs.resolve(configs.to_dict(config) | {"phases": (frozen,)})
    assert Trainer.of(task_of(config), config, jax.devices()[:1])
    with pytest.raises(ConfigError, match="every phase freezes them all"):
        Trainer.of(task_of(whole), whole, jax.devices()[:1])
