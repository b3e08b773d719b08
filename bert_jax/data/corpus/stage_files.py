"""Files of a preparation under way: written whole or not at all, and checksummed, so that a later call can go on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax import array_file, atomic, json_file


def save(path: Path, fields: Mapping[str, Any]) -> None:
    """Writes arrays, and dictionaries as JSON, to one file."""
    arrays = {
        name: value if isinstance(value, np.ndarray) else np.frombuffer(json.dumps(value).encode(), np.uint8)
        for name, value in fields.items()
    }
    names = [name for name, value in fields.items() if not isinstance(value, np.ndarray)]
    with atomic.binary_stream(path) as stream:
        notes = {"_json": np.array(names, dtype=str), "_names": np.array(list(fields), dtype=str)}
        np.savez(stream, allow_pickle=False, **notes, **arrays)


def load(path: Path, names: Iterable[str]) -> dict[str, Any]:
    """The named fields of a file that `save` wrote."""
    stored = array_file.read_npz(path, [*names, "_json"])
    as_json = set(stored.pop("_json").tolist())
    return {
        name: json_file.parse(str(array.tobytes(), "utf-8")) if name in as_json else array
        for name, array in stored.items()
    }


def is_sound(path: Path) -> bool:
    """Whether `path` is there with the content that was written, by its checksums."""
    try:
        stored = array_file.read_npz(path)
    except (OSError, ValueError):
        return False
    # A damaged directory of the file may leave some out.
    return "_names" in stored and stored.keys() == {"_json", "_names", *stored["_names"].tolist()}
