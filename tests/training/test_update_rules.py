"""Every optimizer against its published rule in NumPy, ten steps, over matrices, tables and vectors; and over a mesh,
saved and resumed."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax import config as configs
from bert_jax.config import ParallelConfig, TrainConfig
from bert_jax.models.parameters import TABLE, flatten, nest, path_name
from bert_jax.objectives.sums import Objective
from bert_jax.training import state as states
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.groups import frozen_leaves, owner
from bert_jax.training.optim import make_optimizer
from bert_jax.training.parallel import make_plan
from bert_jax.training.step import train_step
from bert_jax.training.update_rules import MatrixAxes

LAYER = "bert/encoder/layer_0/"
SHAPES = {
    "bert/embeddings/token": (7, 6),
    f"{LAYER}attention/query/kernel": (6, 2, 3),
    f"{LAYER}attention/query/bias": (2, 3),
    f"{LAYER}attention/output/kernel": (2, 3, 6),
    f"{LAYER}mlp_in/kernel": (6, 10),
    f"{LAYER}mlp_norm/scale": (6,),
    "bert/encoder/convolution/kernel": (3, 6, 6),
    "mlm_head/dense/kernel": (6, 6),
}
MATRICES = {
    f"{LAYER}attention/query/kernel": (6, 6),
    f"{LAYER}attention/output/kernel": (6, 6),
    f"{LAYER}mlp_in/kernel": (6, 10),
}
"""Muon's, as [in, out]."""
FLAT = MATRICES | {
    "bert/embeddings/token": (7, 6),
    "bert/encoder/convolution/kernel": (18, 6),
    "mlm_head/dense/kernel": (6, 6),
}
"""Adafactor's, as [in, out] or [rows, width]."""
DECAYED = FLAT.keys()
RATE, DECAY, STEPS = 0.01, 0.1, 10
B1, B2, EPS = 0.9, 0.98, 1e-6


def make_config(**fields):
    return configs.resolve(
        {
            "model": {"preset": "bert-tiny"},
            "train": {"steps": STEPS},
            "optim": {
                "learning_rate": RATE, "warmup_steps": 3, "schedule": "linear", "weight_decay": DECAY, "clip_norm": 0,
                "b1": B1, "b2": B2,
            }
            | fields,
        }
    )  # fmt: skip


def drawn(seed):
    """Gradients of very different sizes, so that StableAdamW's bound is met by some tensors and steps, not by others."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** rng.uniform(-2, 2)
    return {path: (size * rng.normal(size=shape)).astype(np.float32) for path, shape in SHAPES.items()}


def share(step):
    """Of the peak: three steps of warmup, then down to zero over seven."""
    return (step + 1) / 4 if step < 3 else 1 - (step - 3) / 7


def trained(**fields):
    """{path: parameter} after ten steps of the optimizer of a config."""
    optimizer = make_optimizer(make_config(**fields))
    params = nest({path: jnp.asarray(leaf) for path, leaf in drawn(0).items()})
    state = optimizer.init(params)

    @jax.jit
    def update(grads, state, params):
        change, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, change), state

    for step in range(STEPS):
        params, state = update(nest(drawn(step + 1)), state, params)
    return flatten(jax.device_get(params))


class Oracle:
    """{path: parameter} after ten steps of `direction(path, g, t)`, in double precision; t counts from 1."""

    def __init__(self, rates=None):
        self.params = {path: leaf.astype(np.float64) for path, leaf in drawn(0).items()}
        self.moments = {path: {} for path in SHAPES}
        self.rates = rates or {}

    def run(self, *, by_schedule=False):
        for step in range(STEPS):
            for path, g in drawn(step + 1).items():
                rate = RATE * share(step) * self.rates.get(path, 1.0)
                direction, divisor = self.direction(path, g.astype(np.float64), step + 1)
                decay = DECAY * (share(step) if by_schedule else rate) * (path in DECAYED)
                self.params[path] -= (rate * direction + decay * self.params[path]) / divisor
        return self.params

    def moment(self, name, path, value, beta):
        kept = self.moments[path]
        kept[name] = beta * kept.get(name, 0.0) + (1 - beta) * value
        return kept[name]

    def adam(self, path, g, t):
        m = self.moment("m", path, g, B1) / (1 - B1**t)
        v = self.moment("v", path, g * g, B2) / (1 - B2**t)
        return m / (np.sqrt(v) + EPS), v


class AdamW(Oracle):
    def direction(self, path, g, t):
        return self.adam(path, g, t)[0], 1.0


class StableAdamW(Oracle):
    bounds = ()

    def direction(self, path, g, t):
        """optimi's form: betas without bias, beta_t = beta (1 - beta^(t - 1)) / (1 - beta^t)."""
        b1, b2 = (b * (1 - b ** (t - 1)) / (1 - b**t) for b in (B1, B2))
        m, v = self.moment("m", path, g, b1), self.moment("v", path, g * g, b2)
        bound = max(1.0, np.sqrt(np.mean(g**2 / np.maximum(v, EPS**2))))
        self.bounds = (*self.bounds, bound)
        return m / (np.sqrt(v) + EPS), bound


class Adafactor(Oracle):
    def direction(self, path, g, t):
        beta = min(B2, 1 - t**-0.8)
        square = g**2 + 1e-30
        if path in FLAT:
            square = square.reshape(FLAT[path])
            row = self.moment("row", path, square.mean(axis=1), beta)
            column = self.moment("column", path, square.mean(axis=0), beta)
            second = (np.outer(row, column) / row.mean()).reshape(g.shape)
        else:
            second = self.moment("v", path, square, beta)
        return self.moment("m", path, g / np.sqrt(second), B1), 1.0


class Lion(Oracle):
    def direction(self, path, g, t):
        before = self.moments[path].get("m", 0.0)
        self.moment("m", path, g, B2)
        return np.sign(B1 * before + (1 - B1) * g), 1.0


class Muon(Oracle):
    def direction(self, path, g, t):
        if path not in MATRICES:
            return self.adam(path, g, t)[0], 1.0
        beta = 0.95
        m = self.moment("m", path, g, beta)
        # Nesterov's step as NAdam corrects it: the next momentum's bias, this gradient's.
        x = beta * m / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)
        x = x.reshape(MATRICES[path])
        x = x / np.linalg.norm(x)
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        return (0.2 * np.sqrt(max(x.shape)) * x).reshape(g.shape), 1.0


ORACLES = {"adamw": AdamW, "stable_adamw": StableAdamW, "adafactor": Adafactor, "lion": Lion, "muon": Muon}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_allclose(found[path], leaf, rtol=2e-5, atol=2e-5, err_msg=path)


@pytest.mark.parametrize("by", ["rate", "schedule"])
@pytest.mark.parametrize("name", ORACLES)
def test_ten_steps_are_the_published_rule_written_out(name, by):
    expected = ORACLES[name]().run(by_schedule=by == "schedule")
    assert_same(trained(name=name, weight_decay_by=by), expected)


def test_the_gradients_meet_stable_adamws_bound_in_part_of_the_steps():
    oracle = StableAdamW()
    oracle.run()
    assert 0.1 < np.mean(np.array(oracle.bounds) > 1) < 0.9
    assert max(oracle.bounds) > 2


@pytest.mark.parametrize("name", ORACLES)
def test_a_rate_of_its_own_scales_the_step_but_not_a_decay_by_schedule(name):
    """Layers at a quarter of the rate."""
    quarter = {path: 0.25 for path in SHAPES if path.startswith(LAYER)}
    for by in ("rate", "schedule"):
        found = trained(name=name, rates=(f"layer_0/={RATE / 4}",), weight_decay_by=by)
        assert_same(found, ORACLES[name](quarter).run(by_schedule=by == "schedule"))


def test_adafactor_without_a_first_moment_keeps_rows_columns_and_vectors_alone():
    params = nest({path: jnp.asarray(leaf) for path, leaf in drawn(0).items()})
    state = make_optimizer(make_config(name="adafactor", b1=0.0)).init(params)
    kept = sum(leaf.size for leaf in jax.tree.leaves(state) if leaf.ndim and leaf.size > 1)
    vectors = sum(np.prod(shape) for path, shape in SHAPES.items() if path not in FLAT)
    assert kept == sum(map(sum, FLAT.values())) + vectors


@pytest.mark.parametrize(
    ("path", "shape", "sizes"),
    [
        (f"{LAYER}attention/query/kernel", (4, 2, 3), (4, 6)),
        (f"{LAYER}attention/output/kernel", (2, 3, 4), (6, 4)),
        (f"{LAYER}mlp_out/kernel", (8, 4), (8, 4)),
        ("bert/encoder/convolution/kernel", (3, 4, 5), (12, 5)),
        (f"{LAYER}attention/query/bias", (2, 3), (1, 6)),
    ],
)
def test_a_parameter_is_the_matrix_of_its_torch_layout_and_comes_back(path, shape, sizes):
    axes = MatrixAxes.of(TABLE.row(path, shape))
    leaf = jnp.arange(np.prod(shape)).reshape(shape)
    assert axes.sizes(leaf) == sizes
    assert axes.flat(leaf).shape == (sizes if axes.inputs else sizes[1:])
    np.testing.assert_array_equal(axes.unflat(axes.flat(leaf), leaf), leaf)


# ---------------------------------------------------------------------------------------------
# In a training step: a mesh, accumulation, frozen parameters, a checkpoint
# ---------------------------------------------------------------------------------------------

NAMES = (*ORACLES, "bert_adam", "lamb")
MESHES = {"fsdp x tensor": {"fsdp": 2, "tensor": 2}, "data": {"data": 4}}
ROWS = 8


def named(tree):
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def rows_of(step):
    """{path: [B, ...]}: rows whose mean is the gradient by that parameter."""
    rng = np.random.default_rng(step)
    return {path: rng.normal(size=(ROWS, *shape)).astype(np.float32) for path, shape in SHAPES.items()}


def _dot(params, constants, batch, dropout_key):
    return sum(jnp.sum(rows * flatten(params)[path][None]) for path, rows in batch.items())


def _count(batch):
    return jnp.float32(len(next(iter(batch.values()))))


LINEAR = Objective(
    forward=_dot,
    sums=lambda total, batch: {"dot": (total, _count(batch))},
    weights=lambda batch: {"dot": _count(batch)},
    terms={"dot": 1.0},
)
"""A model whose gradient is what the rows hold, so that no gradient is rounding alone, as that of a key's bias is: Lion
and Adafactor would make whole steps of it."""


class Running:
    """A compiled training step of an optimizer on some devices, and its state before step 0."""

    def __init__(self, name, devices=1, *, frozen=(), **groups):
        clip_norm = 0.0 if name == "stable_adamw" else 1.0
        config = make_config(name=name, clip_norm=clip_norm, layer_decay=0.5)
        config = dataclasses.replace(config, **groups)
        plan = make_plan(config, jax.devices()[:devices], batch_sizes=[ROWS])
        optimizer = make_optimizer(config)

        def create(seed):
            params = nest({path: jnp.asarray(leaf) for path, leaf in drawn(0).items()})
            return states.create(params, optimizer, ("dot", "grad_norm"), seed=seed)

        self.start, self.plan = plan.init(create, np.uint32(0)), plan
        body = functools.partial(
            train_step,
            objective=LINEAR,
            optimizer=optimizer,
            accumulate=config.train.accumulate,
            frozen=frozen_leaves(self.start.params, frozen) if frozen else None,
        )
        self._step = plan.compile_train(body, self.start, {}, plan.place(rows_of(0)))

    def go(self, state, stop):
        """The state after step `stop`; `state` stays."""
        state = jax.tree.map(jnp.copy, state)
        for step in range(int(state.step), stop):
            state, _ = self._step(state, {}, self.plan.place(rows_of(step)))
        return state


@functools.cache
def alone(name):
    return Running(name)


@functools.cache
def over(name, mesh):
    return Running(
        name, 4, parallel=ParallelConfig(**MESHES[mesh]), train=TrainConfig(steps=STEPS, accumulate=2)
    )


@pytest.mark.parametrize(
    ("name", "mesh"), [*((name, "fsdp x tensor") for name in NAMES), ("muon", "data"), ("adafactor", "data")]
)
def test_over_a_mesh_and_in_micro_batches_it_is_the_same(name, mesh):
    found, expected = (running.go(running.start, 6).params for running in (over(name, mesh), alone(name)))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=2e-6), found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_restored_over_a_mesh_it_goes_on_bit_for_bit(name, tmp_path):
    running = over(name, "fsdp x tensor")
    state = running.go(running.start, 3)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(state)
    with Checkpoints(tmp_path, keep=1, read_only=True) as checkpoints:
        restored = checkpoints.restore(jax.eval_shape(lambda tree: tree, state), 3)
    jax.tree.map(np.testing.assert_array_equal, running.go(restored, 6), running.go(state, 6))


@pytest.mark.parametrize("name", NAMES)
def test_no_moment_of_more_than_an_axis_is_on_every_device(name):
    moments = {
        path: leaf
        for path, leaf in named(over(name, "fsdp x tensor").start.opt_state).items()
        if leaf.ndim > 1
    }
    assert moments
    assert not [path for path, leaf in moments.items() if leaf.is_fully_replicated]


@pytest.mark.parametrize("name", NAMES)
def test_frozen_parameters_and_their_moments_stay_and_the_others_move_as_ever(name):
    frozen = ("layer_0/mlp", "embeddings/")
    running, free = Running(name, frozen=frozen), alone(name)
    before, after, usual = running.start, running.go(running.start, 2), free.go(free.start, 2)
    stays = named(frozen_leaves(before.params, frozen))
    for part in ("params", "opt_state"):
        first, last, freely = (named(getattr(state, part)) for state in (before, after, usual))
        for path, leaf in last.items():
            found = owner(path, stays)
            if found is not None and stays[found]:
                np.testing.assert_array_equal(leaf, first[path], err_msg=path)
            elif (
                found is not None and name == "stable_adamw"
            ):  # clipping would see the norm of fewer parameters
                np.testing.assert_array_equal(leaf, freely[path], err_msg=path)
            elif part == "params":
                assert not np.array_equal(leaf, first[path]), path
