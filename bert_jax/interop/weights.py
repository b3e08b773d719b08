"""Files of weights with a checksum of their tensors.

It stands in the header of the safetensors file, so that one which another program writes in its place has none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

_KEY = "bert_jax.sha256"


def save(tensors: Mapping[str, np.ndarray], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file, the same bytes for the same tensors.

    metadata: of its header, besides the checksum.

    Raises:
      OSError, SafetensorError: it cannot be written.
    """
    save_file(dict(tensors), path, metadata={**(metadata or {}), _KEY: _digest(tensors, tensors.__getitem__)})
    _order_metadata(path)


def is_damaged(path: Path) -> bool:
    """Whether the tensors of a file are not those that were written; False where the file has no checksum.

    Raises:
      OSError, SafetensorError: it cannot be read.
    """
    with safe_open(path, framework="numpy") as file:
        expected = (file.metadata() or {}).get(_KEY)
        return expected is not None and _digest(file.keys(), file.get_tensor) != expected


def _order_metadata(path: Path) -> None:
    """Sorts the metadata in a file's header: safetensors writes it in another order each time."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        # The tensors start where they did: the format pads a header with spaces.
        if len(text) > size:
            raise OSError(f"{path}: its header of {size} bytes would need {len(text)}")
        file.seek(8)
        file.write(text.ljust(size))


def _digest(names: Iterable[str], tensor: Callable[[str], np.ndarray]) -> str:
    sha = hashlib.sha256()
    for name in sorted(names):
        array = np.ascontiguousarray(tensor(name))
        sha.update(f"{name} {array.dtype} {array.shape}\n".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()
