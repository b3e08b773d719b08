"""Update rules: from a gradient to a direction, before decay and learning rate. Optax's, and what it lacks.

Every moment has the shape of its parameter, or one axis: `training.parallel` shards it as its parameter, or not at all.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from bert_jax.config import OptimConfig
from bert_jax.models.parameters import LAYER, TABLE, Parameter, ParameterTable
from bert_jax.training.groups import group_labels

_MUON_MOMENTUM = 0.95
_MUON_RMS = 0.2


def update_rule(optim: OptimConfig, table: ParameterTable = TABLE) -> optax.GradientTransformation:
    """The rule that `optim.name` names; of `stable_adamw` and `lamb` what comes before the decay."""
    if optim.name in ("bert_adam", "lamb"):
        return scale_by_adam_without_correction(optim.b1, optim.b2, optim.eps)
    if optim.name == "adafactor":
        return scale_by_adafactor(optim.b1, optim.b2, table)
    if optim.name == "lion":
        return optax.scale_by_lion(optim.b1, optim.b2)
    adam = optax.scale_by_adam(optim.b1, optim.b2, optim.eps)
    if optim.name == "muon":
        groups = {"muon": scale_by_muon(table), "adam": adam}
        rules = ((is_muons, "muon"), (lambda row: True, "adam"))
        return optax.partition(groups, lambda params: group_labels(params, rules, table))
    return adam


class _MomentsState(NamedTuple):
    mu: optax.Updates
    nu: optax.Updates


def scale_by_adam_without_correction(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """m / (sqrt(v) + eps) with moments that start at zero and stay biased (BERT's AdamWeightDecay)."""

    def init(params: Any) -> _MomentsState:
        return _MomentsState(mu=optax.tree.zeros_like(params), nu=optax.tree.zeros_like(params))

    def update(grads: Any, state: _MomentsState, params: Any = None) -> tuple[Any, _MomentsState]:
        del params
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, grads)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu, nu)
        return updates, _MomentsState(mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)


# ---------------------------------------------------------------------------------------------
# StableAdamW
# ---------------------------------------------------------------------------------------------


class _StableState(NamedTuple):
    adam: optax.OptState
    rest: optax.OptState


def stable_adam(
    b1: float, b2: float, eps: float, rest: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Adam and then `rest`, each tensor's step divided by max(1, RMS), RMS = sqrt(mean(g^2 / max(v, eps^2))).

    Adafactor's update clipping in AdamW (Wortsman et al. 2023, algorithm 2), v without the bias of its start, as in
    the library optimi, which trained ModernBERT. `rest` decays and scales by the learning rate: both are divided.
    """
    adam = optax.scale_by_adam(b1, b2, eps)

    def init(params: Any) -> _StableState:
        return _StableState(adam.init(params), rest.init(params))

    def update(grads: Any, state: _StableState, params: Any = None) -> tuple[Any, _StableState]:
        updates, of_adam = adam.update(grads, state.adam, params)
        updates, of_rest = rest.update(updates, state.rest, params)
        second = optax.tree.bias_correction(of_adam.nu, b2, of_adam.count)

        def bounded(update: jax.Array, g: jax.Array, v: jax.Array) -> jax.Array:
            rms = jnp.sqrt(jnp.mean(g * g / jnp.maximum(v, eps**2)))
            return update / jnp.maximum(1.0, rms)

        return jax.tree.map(bounded, updates, grads, second), _StableState(of_adam, of_rest)

    return optax.GradientTransformation(init, update)


# ---------------------------------------------------------------------------------------------
# Adafactor and Muon: parameters as the matrices they are
# ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class MatrixAxes:
    """Which axes of a parameter its matrix [in, out] takes; a leaf of a tree. A vector has outputs alone.

    Its torch layout [out, in] tells: the axes that it groups first are the outputs. A table's rows are outputs.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @classmethod
    def of(cls, row: Parameter) -> MatrixAxes:
        letters = row.torch.split()[0] if row.torch else row.axes[-1]
        axes = range(len(row.axes))
        return cls(
            tuple(axis for axis in axes if row.axes[axis] not in letters),
            tuple(axis for axis in axes if row.axes[axis] in letters),
        )

    def sizes(self, leaf: jax.Array) -> tuple[int, int]:
        """(in, out)"""
        inputs, outputs = ([leaf.shape[axis] for axis in axes] for axes in (self.inputs, self.outputs))
        return math.prod(inputs), math.prod(outputs)

    def flat(self, leaf: jax.Array) -> jax.Array:
        """[in, out]; [out] of a vector"""
        if not self.inputs:
            return leaf.reshape(-1)
        return leaf.transpose((*self.inputs, *self.outputs)).reshape(self.sizes(leaf))

    def unflat(self, flat: jax.Array, like: jax.Array) -> jax.Array:
        """What `flat` made of a leaf of the shape of `like`, as that leaf."""
        order = (*self.inputs, *self.outputs)
        turned = flat.reshape([like.shape[axis] for axis in order])
        return turned.transpose([order.index(axis) for axis in range(like.ndim)])


def scale_by_adafactor(b1: float, b2: float, table: ParameterTable = TABLE) -> optax.GradientTransformation:
    """Adafactor (Shazeer and Stern 2018) as Zhai et al. 2022, section 3.4, changed it, so that AdamW's rates serve.

    The second moment of a matrix or table [in, out] is the product of its row and column means, whose decay
    1 - t^-0.8 stops at `b2`; the first moment, of decay `b1`, is one of updates; 0: none is kept. Rates are not
    relative to the norm of the parameter, and updates are not clipped by their RMS (code: big_vision/optax.py).
    """
    factored = optax.scale_by_factored_rms(
        min_dim_size_to_factor=1,
        decay_rate_fn=lambda step, power: jnp.minimum(b2, 1 - (step + 1.0) ** -power),
    )

    def flat(tree: Any) -> Any:
        return jax.tree.map(lambda leaf, axes: axes.flat(leaf), tree, table.map(MatrixAxes.of, tree))

    def init(params: Any) -> Any:
        return factored.init(flat(params))

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = factored.update(flat(grads), state, flat(params))
        axes = table.map(MatrixAxes.of, grads)
        return jax.tree.map(lambda flat, axes, like: axes.unflat(flat, like), updates, axes, grads), state

    momentum = optax.ema(b1, debias=False) if b1 else optax.identity()
    return optax.chain(optax.GradientTransformation(init, update), momentum)


def is_muons(row: Parameter) -> bool:
    """Whether Muon updates a parameter: a matrix of an encoder layer. Embeddings, heads and vectors are Adam's (Liu et
    al. 2025, section 2.2)."""
    return row.kind == "matrix" and row.path.startswith(LAYER)


def scale_by_muon(table: ParameterTable = TABLE) -> optax.GradientTransformation:
    """Nesterov momentum made orthogonal by five Newton-Schulz steps (Jordan 2024), for matrices of any axes.

    A kernel is the matrix [in, out] of its table's axes: all heads together, a gate beside what it gates. Updates are
    scaled by 0.2 * sqrt(max(in, out)), which gives them the RMS of AdamW's and so its learning rate and decay (Liu et
    al. 2025, section 2.2).
    """

    def dimensions(updates: Any) -> Any:
        def of_row(row: Parameter) -> optax.contrib.MuonDimensionNumbers:
            axes = MatrixAxes.of(row)
            return optax.contrib.MuonDimensionNumbers(axes.inputs, axes.outputs)

        return table.map(of_row, updates)

    def scale(updates: Any, params: Any) -> Any:
        def scaled(update: jax.Array, axes: MatrixAxes) -> jax.Array:
            return update * (_MUON_RMS * math.sqrt(max(axes.sizes(update))))

        return jax.tree.map(scaled, updates, table.map(MatrixAxes.of, updates))

    orthogonal = optax.contrib.scale_by_muon(beta=_MUON_MOMENTUM, weight_dimension_numbers=dimensions)
    return optax.chain(orthogonal, optax.stateless(scale))
