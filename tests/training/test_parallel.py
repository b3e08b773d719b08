"""One body, two drivers: loss, gradient norm and parameters do not depend on how rows are spread."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import optax.contrib
import pytest

from bert_jax import config as configs
from bert_jax.benchmarks.synthetic import synthetic
from bert_jax.errors import ConfigError
from bert_jax.models import bert
from bert_jax.models.parameters import TABLE, Parameter, path_name
from bert_jax.objectives.pretraining import pretraining
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
    batch = synthetic(config, config.train.batch_size, seed=seed)
    rows, slots = batch["mlm_weights_BM"].shape
    used = 1 + np.arange(rows) % slots
    batch["mlm_weights_BM"] = (np.arange(slots) < used[:, None]).astype(np.float32)
    batch["pair_weights_BP"][: rows // 3] = 0
    batch["pack_ids_BL"][1, 15:] = 0
    batch["example_ids_B"] += np.uint32(seed * rows)
    return batch


@functools.cache
def start_on_host(model):
    """The state before step 0, computed once on one device; how `model` is run does not matter."""
    names = ("mlm_loss", "mlm_accuracy", "pair_loss", "pair_accuracy", "grad_norm")
    optimizer = optim.make_optimizer(make_config())
    create = jax.jit(lambda: state.create(bert.init_params(model, jax.random.key(0)), optimizer, names))
    return jax.device_get(create())


def trainer(config, devices, *, corrupt=None):
    """batches -> (mean metrics of their steps, final parameters), from the same start each time."""
    plan = parallel.make_plan(config, jax.devices()[:devices])
    model = bert.BertWithHeads(config.model)
    body = functools.partial(
        corrupt or step.train_step,
        objective=pretraining(model.apply, with_pairs=config.data.sentence_objective != "none"),
        optimizer=optim.make_optimizer(config),
        accumulate=config.train.accumulate,
    )
    host = start_on_host(dataclasses.replace(config.model, layers="loop", remat="none"))
    shardings = plan.state_shardings(host)
    rows = plan.place(uneven_batch(config, 0))
    compiled = plan.compile_train(body, jax.device_put(host, shardings), {}, rows)

    def train(batches):
        now = jax.device_put(host, shardings)
        for batch in batches:
            now, _ = jax.block_until_ready(compiled(now, {}, plan.place(batch)))
        window = {name: float(s) / float(w) for name, (s, w) in now.window.items()}
        return window, jax.device_get(now.params)

    return train


def run(config, devices, **options):
    """`trainer` over three uneven batches."""
    return trainer(config, devices, **options)([uneven_batch(config, seed) for seed in range(3)])


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
        (8, {}),
        (8, {"parallel": {"mode": "pmap"}}),
        (8, {"parallel": {"data": 2, "fsdp": 2, "tensor": 2}}),
        (2, {"train": {"accumulate": 4}}),
        (2, {"model": {"layers": "scan", "remat": "full"}}),
        *(
            pytest.param(devices, groups, marks=pytest.mark.slow)
            for devices, groups in [
                (8, {"parallel": {"shard_optimizer": True}}),
                (8, {"parallel": {"data": 2, "fsdp": 2, "tensor": 2, "shard_optimizer": True}}),
                (2, {"train": {"accumulate": 4}, "parallel": {"mode": "pmap"}}),
                (1, {"parallel": {"mode": "pmap"}}),
                (1, {"model": {"layers": "scan"}}),
                (1, {"model": {"remat": "full"}}),
                (8, {"model": {"remat": "attention"}, "parallel": {"data": 2, "fsdp": 2, "tensor": 2}}),
            ]
        ),
    ],
    ids=str,
)
def test_same_as_one_device(devices, groups, reference):
    """With dropout on: its masks belong to the example, not to the device."""
    assert_same(run(make_config(**groups), devices), reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        {"embedding_size": 8, "sharing": "all", "num_layers": 2},
        {
            "positions": "disentangled", "pooler": "gelu",
            "relative": {"span": 8, "buckets": 4, "norm": True, "convolution": 3, "mask_decoder": True},
        },
        {
            "positions": "rotary", "mlp": "geglu", "biases": False, "num_layers": 5, "pattern": ("global", "local"),
            "window": 3, "layers": "scan", "dropout_at": ("attention",), "initializer": "megatron",
            "norm": {"place": "before", "bias": False, "first": False},
        },
    ],
    ids=["albert", "deberta", "modernbert"],
)  # fmt: skip
def test_variants_are_the_same_over_a_mesh(model):
    mesh = {"data": 2, "fsdp": 2, "tensor": 2}
    assert_same(run(make_config(model=model, parallel=mesh), 8), run(make_config(model=model), 1))


def unpacked(batch):
    """The same examples, each in a row of its own and padded to L: P rows for each one."""
    rows, length = batch["tokens_BL"].shape
    packing = batch["first_BP"].shape[1]
    alone = {name: np.repeat(values, packing, axis=0) for name, values in batch.items()}
    for row in range(rows):
        for pack in range(packing):
            here = row * packing + pack
            columns = np.flatnonzero(batch["pack_ids_BL"][row] == pack + 1)
            for name in ("tokens_BL", "type_ids_BL", "positions_BL", "pack_ids_BL"):
                alone[name][here] = 0
                alone[name][here, : len(columns)] = batch[name][row, columns]
            alone["pack_ids_BL"][here] = np.arange(length) < len(columns)
            slots = np.isin(batch["mlm_positions_BM"][row], columns)
            alone["mlm_weights_BM"][here] *= slots
            start = columns[0] if len(columns) else 0
            alone["mlm_positions_BM"][here] = (batch["mlm_positions_BM"][row] - start) * slots
    for name in ("pair_labels_BP", "pair_weights_BP"):
        alone[name] = batch[name].reshape(-1, 1)
    alone["first_BP"] = np.zeros((rows * packing, 1), np.int32)
    alone["example_ids_B"] = np.arange(rows * packing, dtype=np.uint32)
    return alone


def test_packed_rows_train_as_their_examples_alone():
    """Two devices and two micro-batches of packed rows, against one device and a row an example."""
    without_dropout = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0}
    packed = make_config(data={"packing": 3}, model=without_dropout, train={"batch_size": 8, "accumulate": 2})
    alone = make_config(model=without_dropout, train={"batch_size": 24})

    batches = [uneven_batch(packed, seed) for seed in range(3)]
    for batch in batches:
        batch["pack_ids_BL"][2:5, 16:] = 0  # rows of two examples
        batch["first_BP"][2:5, 2] = 0
        batch["pair_weights_BP"][2:5, 2] = 0
        batch["mlm_weights_BM"] *= np.take_along_axis(batch["pack_ids_BL"], batch["mlm_positions_BM"], 1) > 0
    train_packed = trainer(packed, 2)
    expected = trainer(alone, 1)([unpacked(batch) for batch in batches])
    assert_same(train_packed(batches), expected)

    one = [batch | {"pack_ids_BL": np.minimum(batch["pack_ids_BL"], 1)} for batch in batches]
    with pytest.raises(AssertionError):  # were the examples to see each other
        assert_same(train_packed(one), expected)


def test_the_comparison_can_fail(reference):
    """A psum of gradients of a local mean, the classic mistake, is caught by the gradient norm."""

    def local_means(now, constants, batch, *, reduce, objective, **rest):
        devices = jax.lax.psum(1, "data")
        scaled = functools.partial(jax.tree.map, lambda x: x / devices)
        objective_of_local_mean = objective.__class__(
            **{**objective.__dict__, "weights": lambda b: scaled(objective.weights(b))}
        )
        return step.train_step(
            now, constants, batch, reduce=reduce, objective=objective_of_local_mean, **rest
        )

    wrong = run(make_config(parallel={"mode": "pmap"}), 8, corrupt=local_means)
    with pytest.raises(AssertionError):
        assert_same(wrong, reference)


def test_parameters_are_born_split_as_the_rules_say():
    config = make_config(parallel={"data": 2, "fsdp": 2, "tensor": 2})
    plan = parallel.make_plan(config, jax.devices())
    optimizer = optim.make_optimizer(config)
    now = plan.init(
        lambda seed: state.create(
            bert.init_params(config.model, jax.random.key(seed)), optimizer, ("mlm_loss",), seed=seed
        ),
        np.uint32(0),
    )
    jax.tree.map(
        np.testing.assert_array_equal, jax.device_get(now.params), start_on_host(config.model).params
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
    letters = TABLE.map(lambda row: row.axes, params)
    assert jax.tree.all(jax.tree.map(lambda leaf, axes: leaf.ndim == len(axes), params, letters))


def test_a_parameter_of_two_axes_that_no_row_covers_is_an_error():
    unknown = {"bert": {"new_thing": {"weights": np.zeros((2, 2)), "bias": np.zeros(2)}}}
    with pytest.raises(ValueError, match=r"bert/new_thing/weights of shape \(2, 2\)"):
        parallel.param_specs(unknown)
    row = Parameter(path="new_thing/weights", axes="DF", kind="matrix")
    specs = parallel.param_specs(unknown, TABLE.with_rows(row))["bert"]["new_thing"]
    assert specs["weights"] == jax.sharding.PartitionSpec("fsdp", "tensor")
    assert specs["bias"] == jax.sharding.PartitionSpec()


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


# ---------------------------------------------------------------------------------------------
# The optimizer's state, whatever it is made of
# ---------------------------------------------------------------------------------------------


def of_mesh(optimizer, model=None):
    """(abstract state, its shardings) under fsdp 2 x tensor 2 x data 2."""
    config = make_config(model=model or {}, parallel={"data": 2, "fsdp": 2, "tensor": 2})
    plan = parallel.make_plan(config, jax.devices())
    params = jax.eval_shape(lambda: bert.init_params(config.model, jax.random.key(0)))
    now = jax.eval_shape(lambda p: state.create(p, optimizer, ("mlm_loss",)), params)
    return now, plan.state_shardings(now)


def named(tree):
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.mark.parametrize(
    ("optimizer", "count"),
    [
        (optax.adamw(1e-3), 30),
        (optax.chain(optax.clip_by_global_norm(1.0), optax.lamb(1e-3)), 30),
        (optax.contrib.muon(1e-3), 19),  # its state is a dictionary of two optimizers
        (optax.MultiSteps(optax.adamw(1e-3), 4), 45),
    ],
    ids=["adamw", "lamb", "muon", "multi_steps"],
)
def test_every_moment_lives_where_its_parameter_does(optimizer, count):
    now, shardings = of_mesh(optimizer)
    params, found = named(shardings.params), named(shardings.opt_state)
    shapes = named(now.opt_state)
    moments = [name for name, leaf in shapes.items() if leaf.ndim >= 2]
    assert len(moments) == count
    for name in moments:
        [own] = [path for path in params if name.endswith("/" + path)]
        assert found[name] == params[own], name
        assert any(found[name].spec), f"{name} is replicated"


def test_a_state_of_matrices_that_are_no_parameters_is_an_error():
    def init(params):
        return {"sketch": jax.tree.map(lambda leaf: jax.numpy.zeros((7, 7)), params)}

    odd = optax.GradientTransformation(init, lambda updates, now, params=None: (updates, now))
    with pytest.raises(ValueError, match=r"opt_state/sketch/.* of shape \(7, 7\) must have the shape"):
        of_mesh(odd)
