"""The axes of every parameter, in the contract's letters, read off its path.

D embed, H heads, K head dim, F mlp, V vocab; S positions, T segment types, C classes. Sharding rules
(`training.parallel`) and weight-decay exclusions (`training.optim`) speak of letters, not of models.
"""

from __future__ import annotations

import re
from typing import Any

import jax

# First match wins; a parameter that no line covers is an error, so a new model cannot forget one.
_TABLE: tuple[tuple[str, str], ...] = (
    (r"embeddings/token$", "VD"),
    (r"embeddings/position$", "SD"),
    (r"embeddings/type$", "TD"),
    (r"attention/(query|key|value)/kernel$", "DHK"),
    (r"attention/(query|key|value)/bias$", "HK"),
    (r"attention/output/kernel$", "HKD"),
    (r"mlp_in/kernel$", "DF"),
    (r"mlp_in/bias$", "F"),
    (r"mlp_out/kernel$", "FD"),
    (r"pair_head/dense/kernel$", "DC"),
    (r"pair_head/dense/bias$", "C"),
    (r"mlm_head/bias$", "V"),
    (r"(pooler|mlm_head)/dense/kernel$", "DD"),
    (r"(bias|scale)$", "D"),
)


def path_name(path: tuple[Any, ...]) -> str:
    """A jax key path as "bert/encoder/layer_0/mlp_in/kernel"."""
    return "/".join(str(getattr(part, "key", part)) for part in path)


def param_axes(params: Any) -> Any:
    """A tree like `params` with each leaf's axis letters.

    Raises:
      ValueError: a parameter no rule covers, or whose rank the rule contradicts.
    """

    def axes(path, leaf) -> str:
        name = path_name(path)
        letters = next((letters for pattern, letters in _TABLE if re.search(pattern, name)), None)
        if letters is None or len(letters) != len(leaf.shape):
            raise ValueError(f"models.axes: parameter {name} of shape {leaf.shape} has axes {letters!r}")
        return letters

    return jax.tree_util.tree_map_with_path(axes, params)
