"""Learning rates of their own for parts of the parameters: by pattern, or layer by layer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import optax

from bert_jax.config import OptimConfig
from bert_jax.errors import ConfigError
from bert_jax.models.parameters import path_name


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


def scale_by_factors(factors: Callable[[Any], Any]) -> optax.GradientTransformation:
    """Multiplies each update by its leaf of `factors(params)`; no state."""

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        return jax.tree.map(lambda update, factor: update * factor, updates, factors(params)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
