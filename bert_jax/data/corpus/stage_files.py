"""Files of a preparation under way: written whole or not at all, and checksummed, so a later run can go on."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def save(path: Path, fields: Mapping[str, Any]) -> None:
    """Writes arrays, and dictionaries as JSON, to one file that appears in one go."""
    arrays = {
        name: value if isinstance(value, np.ndarray) else np.frombuffer(json.dumps(value).encode(), np.uint8)
        for name, value in fields.items()
    }
    names = [name for name, value in fields.items() if not isinstance(value, np.ndarray)]
    partial = _beside(path)
    with partial.open("wb") as stream:
        np.savez(stream, allow_pickle=False, _json=np.array(names, dtype=str), **arrays)
    partial.replace(path)


def load(path: Path, names: Iterable[str]) -> dict[str, Any]:
    """The named fields of a file that `save` wrote."""
    with np.load(path) as stored:
        as_json = set(stored["_json"].tolist())
        return {
            name: json.loads(stored[name].tobytes()) if name in as_json else stored[name] for name in names
        }


def write(path: Path, text: str) -> None:
    """Writes a text file that appears in one go."""
    partial = _beside(path)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _beside(path: Path) -> Path:
    """A name that no other process writes to."""
    return path.with_name(f"{path.name}.{os.uname().nodename}-{os.getpid()}")


def is_sound(path: Path) -> bool:
    """Whether `path` is there with the content that was written, by its checksums."""
    try:
        with zipfile.ZipFile(path) as stored:
            return stored.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError):
        return False
