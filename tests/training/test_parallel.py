"""One body, two drivers: loss, gradient norm and parameters do not depend on how rows are spread."""

import functools

import jax
import numpy as np
import pytest

from bert_jax import batch as contract
from bert_jax import config as configs
from bert_jax.errors import ConfigError
from bert_jax.models import axes, bert
from bert_jax.objectives.pretrain import pretraining
from bert_jax.training import optim, parallel, state, step

BASE = {
    "tokenizer": {"vocab_size": 97},
    "data": {"sequence_length": 24, "sentence_objective": "sop"},
    "model": {
        "preset": "bert-tiny",
        "hidden_size": 32,
        "num_heads": 4,
        "mlp_size": 64,
        "num_layers": 1,
        "max_positions": 24,
    },
    "train": {"steps": 100, "batch_size": 16},
    "optim": {"warmup_steps": 2, "learning_rate": 1e-2},
}


def make_config(**groups):
    raw = {group: dict(values) for group, values in BASE.items()}
    for group, values in groups.items():
        raw.setdefault(group, {}).update(values)
    return configs.resolve(raw)


def uneven_batch(config, seed):
    """Rows whose masked counts differ: the devices' means would not average to the global mean."""
    batch = contract.synthetic(config, config.train.batch_size, seed=seed)
    rows, slots = batch["mlm_weights_BM"].shape
    used = 1 + np.arange(rows) % slots
    batch["mlm_weights_BM"] = (np.arange(slots) < used[:, None]).astype(np.float32)
    batch["pair_weights_BP"][: rows // 3] = 0
    batch["pack_ids_BL"][1, 15:] = 0
    batch["example_ids_B"] += np.uint32(seed * rows)
    return batch


def run(config, devices, *, steps=3, corrupt=None):
    """(mean metrics of the steps, final parameters) of a few steps from the same start."""
    plan = parallel.make_plan(config, jax.devices()[:devices])
    model = bert.BertForPretraining(config.model)
    objective = pretraining(model.apply, config.data.sentence_objective)
    optimizer = optim.make_optimizer(config)
    names = ("mlm_loss", "mlm_accuracy", "pair_loss", "pair_accuracy", "grad_norm")

    def create():
        return state.create(bert.init_params(config.model, jax.random.key(0)), optimizer, names)

    body = functools.partial(
        corrupt or step.train_step,
        objective=objective,
        optimizer=optimizer,
        accumulate=config.train.accumulate,
        dropout_seed=0,
    )
    now = plan.init(create)
    batches = [plan.place(uneven_batch(config, i)) for i in range(steps)]
    compiled = plan.compile_train(body, now, batches[0])
    for batch in batches:
        now, _ = jax.block_until_ready(compiled(now, batch))
    window = {name: float(s) / float(w) for name, (s, w) in now.window.items()}
    return window, jax.device_get(now.params)


@pytest.fixture(scope="module")
def reference():
    return run(make_config(), 1)


def assert_same(result, reference):
    window, params = result
    expected_window, expected_params = reference
    for name, value in expected_window.items():
        assert window[name] == pytest.approx(value, rel=3e-5), name
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-4), params, expected_params)


@pytest.mark.parametrize(
    ("devices", "groups"),
    [
        (2, {}),
        (8, {}),
        (1, {"parallel": {"mode": "pmap"}}),
        (2, {"parallel": {"mode": "pmap"}}),
        (8, {"parallel": {"mode": "pmap"}}),
        (8, {"parallel": {"data": 2, "fsdp": 2, "tensor": 2}}),
        (1, {"train": {"accumulate": 4}}),
        (2, {"train": {"accumulate": 4}}),
        (2, {"train": {"accumulate": 4}, "parallel": {"mode": "pmap"}}),
        (1, {"model": {"layers": "scan"}}),
        (1, {"model": {"remat": True}}),
        (2, {"model": {"layers": "scan", "remat": True}}),
    ],
    ids=str,
)
def test_same_as_one_device(devices, groups, reference):
    """With dropout on: its masks belong to the example, not to the device."""
    assert_same(run(make_config(**groups), devices), reference)


def test_the_comparison_can_fail(reference):
    """A psum of gradients of a local mean, the classic mistake, is caught by the gradient norm."""

    def local_means(now, batch, *, reduce, objective, **rest):
        devices = jax.lax.psum(1, "data")
        scaled = functools.partial(jax.tree.map, lambda x: x / devices)
        objective_of_local_mean = objective.__class__(
            **{**objective.__dict__, "weights": lambda b: scaled(objective.weights(b))}
        )
        return step.train_step(now, batch, reduce=reduce, objective=objective_of_local_mean, **rest)

    wrong = run(make_config(parallel={"mode": "pmap"}), 8, corrupt=local_means)
    with pytest.raises(AssertionError):
        assert_same(wrong, reference)


def test_parameters_are_split_as_the_rules_say():
    config = make_config(parallel={"data": 2, "fsdp": 2, "tensor": 2})
    plan = parallel.make_plan(config, jax.devices())
    optimizer = optim.make_optimizer(config)
    now = plan.init(
        lambda: state.create(bert.init_params(config.model, jax.random.key(0)), optimizer, ("mlm_loss",))
    )
    layer = now.params["bert"]["encoder"]["layer_0"]
    assert layer["mlp_in"]["kernel"].sharding.spec == jax.sharding.PartitionSpec("fsdp", "tensor")
    assert layer["attention"]["query"]["kernel"].addressable_shards[0].data.shape == (16, 2, 8)
    moments = now.opt_state[1].mu["bert"]["encoder"]["layer_0"]["mlp_in"]["kernel"]
    assert moments.sharding == layer["mlp_in"]["kernel"].sharding
    assert moments.addressable_shards[0].data.shape == (16, 32)


def test_every_parameter_has_axes():
    config = make_config()
    params = jax.eval_shape(lambda: bert.init_params(config.model, jax.random.key(0)))
    letters = axes.param_axes(params)
    assert jax.tree.map(lambda leaf, a: len(leaf.shape) == len(a), params, letters)
    with pytest.raises(ValueError, match="bert/new_thing/weights of shape"):
        axes.param_axes({"bert": {"new_thing": {"weights": np.zeros((2, 2))}}})


@pytest.mark.parametrize(
    ("groups", "devices", "message"),
    [
        ({"train": {"batch_size": 12}}, 8, r"config.train.batch_size=12 must be a multiple of 8 = 8 devices"),
        (
            {"train": {"batch_size": 16, "accumulate": 4}},
            8,
            r"batch_size=16 must be a multiple of 32 = 8 devices that split rows x config.train.accumulate=4",
        ),
        ({"parallel": {"data": 3}}, 8, r"config.parallel.data=3 x fsdp=1 x tensor=1 = 3 must equal .*: 8"),
        ({"parallel": {"tensor": 4}}, 2, r"tensor=4 = 4 must equal the number of devices: 2"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(groups, devices, message):
    with pytest.raises(ConfigError, match=message):
        parallel.make_plan(make_config(**groups), jax.devices()[:devices])
