"""Optimizers, from optax, over the groups that the table of parameters gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bert_jax.config import OptimConfig, RunConfig
from bert_jax.errors import ConfigError
from bert_jax.models.parameters import TABLE, ParameterTable, path_name
from bert_jax.training.schedule import make_schedule


def make_optimizer(config: RunConfig, table: ParameterTable = TABLE) -> optax.GradientTransformation:
    """Clip by global norm, Adam, decoupled weight decay, for LAMB each matrix's update scaled to the norm of the
    matrix (You et al. 2020, algorithm 2; as in ALBERT's code not for biases and LayerNorm), learning rate, with
    `rate_factors` where some parameters have rates of their own."""
    optim = config.optim
    if optim.name == "adamw":
        adam = optax.scale_by_adam(optim.b1, optim.b2, optim.eps)
    else:
        adam = scale_by_adam_without_correction(optim.b1, optim.b2, optim.eps)

    def decays(params: Any) -> Any:
        return table.map(lambda row: row.decays, params)

    is_lamb = optim.name == "lamb"
    steps = [
        optax.clip_by_global_norm(optim.clip_norm) if optim.clip_norm else optax.identity(),
        adam,
        optax.add_decayed_weights(optim.weight_decay, mask=decays),
        optax.masked(optax.scale_by_trust_ratio(), decays) if is_lamb else optax.identity(),
        optax.scale_by_learning_rate(make_schedule(config)),
    ]
    if (optim.layer_decay, optim.rates) != (1.0, ()):
        steps.append(_scale_by(lambda params: rate_factors(params, optim)))
    return optax.chain(*steps)


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
# Rates of their own
# ---------------------------------------------------------------------------------------------


def rate_factors(params: Any, optim: OptimConfig) -> Any:
    """A tree like `params` of what multiplies the learning rate of each leaf.

    By `optim.rates`, the first pattern that is found in its path; others by `optim.layer_decay` to the power of the
    layers above them: heads and pooler none, the top layer one, the embeddings all and one.

    Raises:
      ConfigError: a pattern that is found in no path.
    """
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    rules = [entry.rpartition("=") for entry in optim.rates]
    for pattern, _, rate in rules:
        if not any(re.search(pattern, name) for name in names):
            raise ConfigError(
                [
                    f"config.optim.rates={pattern}={rate} must be found in a parameter's path, such as {names[0]}"
                ]
            )
    numbers = [int(found[1]) for name in names if (found := _LAYER.search(name))]
    layers = max(numbers, default=-1) + 1

    def factor(name: str) -> float:
        for pattern, _, rate in rules:
            if re.search(pattern, name):
                return float(rate) / optim.learning_rate
        return optim.layer_decay ** layers_above(name, layers)

    return jax.tree_util.tree_map_with_path(lambda path, _: factor(path_name(path)), params)


_LAYER = re.compile(r"/layer_(\d+)/")


def layers_above(path: str, layers: int) -> int:
    """Layers of `layers` between a parameter and the heads, its own included; embeddings, and tables that all layers
    read, lie below them all."""
    found = _LAYER.search(path)
    if found:
        return layers - int(found[1])
    return layers + 1 if re.search(r"bert/(embeddings|encoder)/", path) else 0


def _scale_by(factors: Callable[[Any], Any]) -> optax.GradientTransformation:
    """Multiplies each update by its leaf of `factors(params)`; no state."""

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        return jax.tree.map(lambda update, factor: update * factor, updates, factors(params)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


# ---------------------------------------------------------------------------------------------
# Groups
# ---------------------------------------------------------------------------------------------

Rule = tuple[str | Callable[..., bool], str]
"""(pattern of a path, or predicate of a table's row; the group of the parameters it covers)."""


def group_labels(params: Any, rules: Sequence[Rule], table: ParameterTable = TABLE) -> Any:
    """A tree like `params` with each leaf's group, by the first rule that covers it: for `optax.partition`.

    A rule is a regular expression that is searched in the path, or a predicate of the parameter's row in the table:
    `(lambda row: row.kind == "matrix", "muon")`.

    Raises:
      ValueError: a leaf that no rule covers, or a rule that covers none.
    """
    covered = [0] * len(rules)

    def label(path: tuple[Any, ...], leaf: Any) -> str:
        name = path_name(path)
        row = table.row(name, leaf.shape)
        for place, (rule, group) in enumerate(rules):
            if bool(re.search(rule, name)) if isinstance(rule, str) else rule(row):
                covered[place] += 1
                return group
        raise ValueError(f"parameter {name} is in no group: a rule must cover it")

    labels = jax.tree_util.tree_map_with_path(label, params)
    for count, (rule, group) in zip(covered, rules, strict=True):
        if not count:
            raise ValueError(f"the rule {rule!r} of group {group!r} covers no parameter")
    return labels


def frozen_leaves(params: Any, patterns: Sequence[str], *, place: str = "config.phases") -> Any:
    """A tree like `params` of bools: whether a pattern is found in the leaf's path.

    Raises:
      ConfigError: a pattern that no path has, or patterns that leave nothing to train.
    """
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    unused = [pattern for pattern in patterns if not any(re.search(pattern, name) for name in names)]
    if unused:
        shown = ", ".join(names[:3])
        raise ConfigError(
            [f"{place}: frozen={unused[0]!r} must be found in a parameter's path, such as {shown}"]
        )
    if all(any(re.search(pattern, name) for pattern in patterns) for name in names):
        raise ConfigError([f"{place}: frozen={'|'.join(patterns)!r} must leave a parameter to train"])
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(re.search(pattern, path_name(path)) for pattern in patterns), params
    )


def owner(path: str, parameters: Mapping[str, Any]) -> str | None:
    """The parameter that a leaf of an optimizer's state belongs to: the longest end of its path that is one's path.

    A moment's path ends in its parameter's, whatever tuples, named tuples and dictionaries it lies in.
    """
    parts = path.split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end in parameters), None)


def with_frozen(frozen: Any, old: Any, new: Any) -> Any:
    """The optimizer's state `new`, but `old` for the leaves of frozen parameters."""
    names = {path_name(path): value for path, value in jax.tree_util.tree_leaves_with_path(frozen)}

    def kept(path: tuple[Any, ...], before: Any, after: Any) -> Any:
        found = owner(path_name(path), names)
        return before if found is not None and names[found] else after

    return jax.tree_util.tree_map_with_path(kept, old, new)
