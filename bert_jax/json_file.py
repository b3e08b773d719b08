"""JSON from files that may come from anywhere: what cannot be read, or has another form, is one error with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError

_NAMES: dict[object, str] = {
    dict: "an object", list: "a list", str: "text", int: "a whole number >= 0", float: "a number",
}  # fmt: skip
_MOST_BYTES = 255  # of a file name, on Linux and macOS
_SHOWN = 80  # characters of a value in a message


def parse(text: str) -> Any:
    """The value of a JSON text.

    Raises:
      ValueError: it is not JSON, or nested more deeply than can be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read(path: Path, form: Any = dict, *, advice: str = "download or export it again") -> Any:
    """The value in a JSON file, of the form `form`: see `fault`.

    advice: what the user can do about another file.

    Raises:
      FileNotFoundError: there is no such file.
      UserError: it cannot be read, is not JSON, or its value is of another form.
    """
    try:
        value = parse(str(path.read_bytes(), "utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}): {advice}") from error
    if wrong := fault(value, form):
        raise UserError(f"{path}: {wrong}: {advice}")
    return value


def fault(value: Any, form: Any) -> str:
    """What is wrong with `value`; empty where it has the form.

    form: a type (int: a whole number >= 0; float: any number; object: anything); [form] for a list of such values;
      {"key": form} for an object that has these keys among others; {str: form} for an object of such values.
    """
    return next(_faults(value, form, ""), "")


def _faults(value: Any, form: Any, place: str) -> Iterator[str]:
    kind = form if isinstance(form, type) else type(form)
    if not _is(value, kind):
        shown = f"{place}={_shown(value)} must be" if place else f"holds a {type(value).__name__}, must hold"
        yield f"{shown} {_NAMES[kind]}"
    elif isinstance(form, list):
        for number, item in enumerate(value):
            yield from _faults(item, form[0], f"{place}[{number}]")
    elif isinstance(form, dict):
        inside = f"{place}." if place else ""
        for key, inner in form.items():
            if key is str:
                for name, item in value.items():
                    yield from _faults(item, inner, f"{inside}{name}")
            elif key not in value:
                yield f"{inside}{key} is missing"
            else:
                yield from _faults(value[key], inner, f"{inside}{key}")


def _is(value: Any, kind: type) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is int:
        return isinstance(value, int) and value >= 0
    return isinstance(value, (int, float) if kind is float else kind)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def is_file_name(name: object) -> bool:
    """Whether `name`, from a file, is that of something in the same folder, so that it leads nowhere else."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        return False
    return len(name.encode(errors="replace")) <= _MOST_BYTES
