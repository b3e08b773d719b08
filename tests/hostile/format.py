"""A format that is read: a small valid folder of it, and the call that reads it as the product does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Format:
    """
    write: fills an empty folder. read: reads that folder, to a value that `==` compares.
    files: those that are damaged.
    checked: a checksum tells damage, so that what is read is what was written or an error. The files that it does not
      cover are in `unchecked`.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], Any]
    files: tuple[str, ...]
    checked: bool = False
    unchecked: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def plain(value: Any) -> Any:
    """Arrays as what `==` compares."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
    return value


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def of_file(name: str, content: bytes, read: Callable[[Path], Any]) -> Format:
    """A format of one file."""
    return Format(
        name,
        lambda folder: (folder / name).write_bytes(content) and None,  # type: ignore[func-returns-value]
        lambda folder: read(folder / name),
        (name,),
    )
