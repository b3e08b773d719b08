"""Values of options by the types of their fields: parsed from text, brought to one spelling, checked."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from typing import Any, Literal

from bert_jax.config.run import PhaseConfig


def _optional(kind: Any) -> tuple[Any, bool]:
    """(T, True) of `T | None`, else (kind, False)."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union) and type(None) in typing.get_args(kind):
        return next(arg for arg in typing.get_args(kind) if arg is not type(None)), True
    return kind, False


def parse(text: str, kind: Any) -> Any:
    """Text by the field's type; what does not parse stays text, for `type_fault` to report."""
    kind, is_optional = _optional(kind)
    if is_optional and text.lower() == "none":
        return None
    if kind == tuple[PhaseConfig, ...]:
        return tuple(_parse_phase(part) for part in text.split(";") if part.strip())
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
        with contextlib.suppress(ValueError):
            number = float(text)  # a whole number may be written 2e4
            return int(number) if number.is_integer() else number
    if typing.get_origin(kind) is tuple:
        return tuple(
            parse(part.strip(), typing.get_args(kind)[0]) for part in text.split(",") if part.strip()
        )
    return text


def _parse_phase(text: str) -> dict[str, Any]:
    """ "share=0.9,sequence_length=128" as its values; patterns of `frozen` are separated by |."""
    values: dict[str, Any] = {}
    kinds = field_types(PhaseConfig)
    for part in text.split(","):
        name, _, value = (word.strip() for word in part.partition("="))
        if name == "frozen":
            values[name] = tuple(value.split("|"))
        else:
            values[name] = parse(value, kinds.get(name, str))
    return values


def field_types(schema: Any) -> dict[str, Any]:
    """{name: type} of the fields of a group of options."""
    return typing.get_type_hints(schema)


def canonical(value: Any, kind: Any) -> Any:
    """The one spelling of a value: 1 as 1.0, a list as a tuple, "whole-word" as "whole_word"."""
    kind, _ = _optional(kind)
    if typing.get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(canonical(item, typing.get_args(kind)[0]) for item in value)
    if typing.get_origin(kind) is Literal and isinstance(value, str):
        return value.replace("-", "_")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def type_fault(value: Any, kind: Any) -> str:
    """What `value` must be and is not; empty: it is of the type."""
    kind, is_optional = _optional(kind)
    if is_optional and value is None:
        return ""
    if dataclasses.is_dataclass(kind):
        return "a group of fields"
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, tuple):
            return "a sequence"
        return next(
            (f"a sequence, each {f}" for v in value if (f := type_fault(v, typing.get_args(kind)[0]))), ""
        )
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        return "" if value in choices else f"one of: {', '.join(choices)}"
    if kind is bool:
        return "" if isinstance(value, bool) else "true or false"
    if kind is int:
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
    if kind is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return "" if is_number and math.isfinite(value) else "a finite number"
    return "" if isinstance(value, str) else "text"
