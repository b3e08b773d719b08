"""Files of weights with a checksum of their tensors.

It stands in the header of the safetensors file, so that one which another program writes in its place has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

_KEY = "bert_jax.sha256"


def save(tensors: Mapping[str, np.ndarray], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file.

    metadata: of its header, besides the checksum.

    Raises:
      OSError, SafetensorError: it cannot be written.
    """
    save_file(dict(tensors), path, metadata={**(metadata or {}), _KEY: _digest(tensors, tensors.__getitem__)})


def is_damaged(path: Path) -> bool:
    """Whether the tensors of a file are not those that were written; False where the file has no checksum.

    Raises:
      OSError, SafetensorError: it cannot be read.
    """
    with safe_open(path, framework="numpy") as file:
        expected = (file.metadata() or {}).get(_KEY)
        return expected is not None and _digest(file.keys(), file.get_tensor) != expected


def _digest(names: Iterable[str], tensor: Callable[[str], np.ndarray]) -> str:
    sha = hashlib.sha256()
    for name in sorted(names):
        array = np.ascontiguousarray(tensor(name))
        sha.update(f"{name} {array.dtype} {array.shape}\n".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return sha.hexdigest()
