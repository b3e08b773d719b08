"""The axes of every parameter, in the contract's letters, read off its path.

D hidden, E embedding, H heads, K head dim, F mlp, V vocab; S positions, T segment types, R rows of the
relative table, W convolution taps, C classes; a second D or E of one kernel is its output. Sharding rules
(`training.parallel`) and weight-decay exclusions (`training.optim`) speak of letters, not of models.
"""

from __future__ import annotations

import re
from typing import Any

import jax

# First match wins; a parameter that no line covers is an error, so a new model cannot forget one.
_TABLE: tuple[tuple[str, str], ...] = (
    (r"embeddings/token$", "VE"),
    (r"embeddings/position$", "SE"),
    (r"embeddings/type$", "TE"),
    (r"embeddings/norm/(scale|bias)$", "E"),
    (r"embeddings/projection/kernel$", "ED"),
    (r"relative/table$", "RD"),
    (r"convolution/kernel$", "WDD"),
    (r"attention/(query|key|value|position_query|position_key)/kernel$", "DHK"),
    (r"attention/(query|key|value|position_query|position_key)/bias$", "HK"),
    (r"attention/output/kernel$", "HKD"),
    (r"mlp_in/kernel$", "DF"),
    (r"mlp_in/bias$", "F"),
    (r"mlp_out/kernel$", "FD"),
    (r"pair_head/dense/kernel$", "DC"),
    (r"pair_head/dense/bias$", "C"),
    (r"rtd_head/output/kernel$", "DC"),
    (r"rtd_head/output/bias$", "C"),
    (r"mlm_head/bias$", "V"),
    (r"mlm_head/dense/kernel$", "DE"),
    (r"mlm_head/(dense/bias|layer_norm/(scale|bias))$", "E"),
    (r"(pooler|rtd_head)/dense/kernel$", "DD"),
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
