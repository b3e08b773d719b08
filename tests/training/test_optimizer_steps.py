"""Every optimizer in a training step: over a mesh, in micro-batches, with frozen parameters, from a checkpoint."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax import config as configs
from bert_jax.config import ParallelConfig, TrainConfig
from bert_jax.models.parameters import flatten, nest, path_name
from bert_jax.objectives.sums import Objective
from bert_jax.training import state as states
from bert_jax.training.checkpoint import Checkpoints
from bert_jax.training.groups import frozen_leaves, owner
from bert_jax.training.optim import make_optimizer
from bert_jax.training.parallel import make_plan
from bert_jax.training.step import train_step

pytestmark = pytest.mark.slow  # each compiles for a minute or more

LAYER = "bert/encoder/layer_0/"
SHAPES = {
    "bert/embeddings/token": (8, 6),
    f"{LAYER}attention/query/kernel": (6, 2, 3),
    f"{LAYER}attention/query/bias": (2, 3),
    f"{LAYER}mlp_in/kernel": (6, 10),
    f"{LAYER}mlp_norm/scale": (6,),
}
NAMES = ("adamw", "bert_adam", "lamb", "stable_adamw", "adafactor", "lion", "muon")
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
        optim = {
            "name": name,
            "clip_norm": clip_norm,
            "layer_decay": 0.5,
            "warmup_steps": 2,
            "learning_rate": 0.01,
        }
        config = configs.resolve({"model": {"preset": "bert-tiny"}, "train": {"steps": 10}, "optim": optim})
        config = dataclasses.replace(config, **groups)
        plan = make_plan(config, jax.devices()[:devices], batch_sizes=[ROWS])
        optimizer = make_optimizer(config)

        def create(seed):
            params = nest({path: jnp.asarray(leaf[0]) for path, leaf in rows_of(100).items()})
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
        name, 4, parallel=ParallelConfig(**MESHES[mesh]), train=TrainConfig(steps=10, accumulate=2)
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
    before = free.go(free.start, 2)  # with moments that would fade
    after, usual = running.go(before, 4), free.go(before, 4)
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
