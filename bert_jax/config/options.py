"""An option of a configuration: its default, its meaning, its range, and what it needs to have an effect."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
    """The range of a number; None: open on that side."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None

    def __contains__(self, value: float) -> bool:
        return not (
            (self.gt is not None and not value > self.gt)
            or (self.ge is not None and not value >= self.ge)
            or (self.lt is not None and not value < self.lt)
            or (self.le is not None and not value <= self.le)
        )

    def __str__(self) -> str:
        low, high = self.ge if self.gt is None else self.gt, self.le if self.lt is None else self.lt
        if low is None or high is None:
            sides = {">": self.gt, ">=": self.ge, "<": self.lt, "<=": self.le}
            return " and ".join(f"{sign} {bound}" for sign, bound in sides.items() if bound is not None)
        return f"in {'[' if self.gt is None else '('}{low}, {high}{']' if self.lt is None else ')'}"


def option(
    default: Any,
    doc: str,
    *,
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    needs: str = "",
) -> Any:
    """A dataclass field with the sentence that `bert-jax config` prints beside it.

    Args:
      gt, ge, lt, le: bounds of its value.
      needs: "group.field=value" without which the option does nothing; it must then keep its default.
    """
    bounds = Bounds(gt=gt, ge=ge, lt=lt, le=le)
    return dataclasses.field(default=default, metadata={"doc": doc, "bounds": bounds, "needs": needs})


def derived(default: Any) -> Any:
    """A dataclass field that is no option: what is trained decides it."""
    return dataclasses.field(default=default, metadata={"derived": True})


def walk(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field]]:
    """("group.field", value, field) of every option, in order."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.metadata.get("derived"):
            continue
        if dataclasses.is_dataclass(value):
            yield from walk(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value, field


def value_at(config: Any, key: str) -> Any:
    """The value of an option by its dotted key: "norm.eps"."""
    return functools.reduce(getattr, key.split("."), config)


def replaced(config: Config, values: Mapping[str, Any]) -> Config:
    """`config` with `values` by their dotted keys: {"norm.eps": 1e-5, "num_layers": 2}."""
    groups: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        group, _, rest = key.partition(".")
        groups.setdefault(group, {})[rest] = value
    return dataclasses.replace(
        config,  # type: ignore[type-var]
        **{
            name: found[""] if "" in found else replaced(getattr(config, name), found)
            for name, found in groups.items()
        },
    )


def fields_that_need(schema: Any, condition: str) -> tuple[str, ...]:
    """The fields of the dataclass `schema` that do nothing without `condition` ("group.field=value")."""
    return tuple(f.name for f in dataclasses.fields(schema) if f.metadata.get("needs") == condition)
