"""Files of a preparation under way: written whole or not at all, and checksummed, so that a later call can go on."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax import atomic


def save(path: Path, fields: Mapping[str, Any]) -> None:
    """Writes arrays, and dictionaries as JSON, to one file."""
    arrays = {
        name: value if isinstance(value, np.ndarray) else np.frombuffer(json.dumps(value).encode(), np.uint8)
        for name, value in fields.items()
    }
    names = [name for name, value in fields.items() if not isinstance(value, np.ndarray)]
    with atomic.binary_stream(path) as stream:
        np.savez(stream, allow_pickle=False, _json=np.array(names, dtype=str), **arrays)


def load(path: Path, names: Iterable[str]) -> dict[str, Any]:
    """The named fields of a file that `save` wrote."""
    with np.load(path) as stored:
        as_json = set(stored["_json"].tolist())
        return {
            name: json.loads(stored[name].tobytes()) if name in as_json else stored[name] for name in names
        }


def is_sound(path: Path) -> bool:
    """Whether `path` is there with the content that was written, by its checksums."""
    try:
        with zipfile.ZipFile(path) as stored:
            return stored.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError):
        return False
