"""Groups of parameters: by rules, frozen or trained, and the leaves of an optimizer's state that belong to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from bert_jax.errors import ConfigError
from bert_jax.models.parameters import TABLE, ParameterTable, path_name

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
