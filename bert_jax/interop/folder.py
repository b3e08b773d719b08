"""A folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from bert_jax.errors import UserError


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Yields an empty folder to write into, which becomes `folder` when the block ends without an error.

    Raises:
      UserError: `folder` is a file or holds something; it cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; an export needs a new or an empty folder: name another one")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; an export needs a new or an empty folder: name another one")
    partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        yield partial
        mode = partial.stat().st_mode & 0o666  # as the folder's: safetensors files are their owner's alone
        for path in partial.rglob("*"):
            if path.is_file():
                path.chmod(mode)
        os.rename(partial, folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{folder}: cannot be written ({reason}): name another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
