"""Every optimizer against its published rule in NumPy: ten steps over matrices, tables and vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax import config as configs
from bert_jax.models.parameters import TABLE, flatten, nest
from bert_jax.training.optim import make_optimizer
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
B1, B2, EPS = 0.9, 0.75, 0.1
"""B2 so low that Adafactor's decay meets it within ten steps, EPS so high that it counts."""


def make_config(**fields):
    return configs.resolve(
        {
            "model": {"preset": "bert-tiny"},
            "train": {"steps": STEPS},
            "optim": {
                "learning_rate": RATE, "warmup_steps": 3, "schedule": "linear", "weight_decay": DECAY, "clip_norm": 0,
                "b1": B1, "b2": B2,
            }
            | ({"eps": EPS} if fields["name"] in ("adamw", "stable_adamw", "muon") else {})
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
    assert max(oracle.bounds) > 1.5


@pytest.mark.parametrize("name", ORACLES)
def test_a_rate_of_its_own_does_not_scale_a_decay_by_schedule(name):
    quarter = {path: 0.25 for path in SHAPES if path.startswith(LAYER)}
    found = trained(name=name, rates=(f"layer_0/={RATE / 4}",), weight_decay_by="schedule")
    assert_same(found, ORACLES[name](quarter).run(by_schedule=True))


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
        (f"{LAYER}mlp_gated_in/kernel", (4, 2, 5), (4, 10)),
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


def test_every_matrix_and_table_has_inputs_and_outputs_and_vectors_have_outputs_alone():
    for row in TABLE.rows:
        axes = MatrixAxes.of(row)
        assert axes.outputs, row.path
        assert bool(axes.inputs) == (row.kind != "vector"), row.path
